// Attention kinds under one interface: options, a module, and a state for decoding token by token.
//
// Shapes: queries are [.., heads, L, d], keys [.., heads, L_k, d], values [.., heads, L_k, d_v]
// with any number of batch dimensions in front, or [L, d] alone. The key mask is boolean
// [.., L_k] over the batch dimensions, true at real tokens. Types: float32 and bfloat16 (sums in
// float32) and float64 (in float64). Inputs need not be contiguous.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <optional>
#include <string>

#include "attention/linear_form.h"

namespace cosdt::attention {

struct AttentionOptions {
  std::string kind = "cosformer";  // a name of AttentionKinds()
  bool causal = true;              // flow and local are causal only

  // cosformer: M, the distance in tokens at which the weight cos(pi/2 distance / M) reaches 0.
  // Lengths and step counts beyond it are an error. Twice the context is a good choice; it is never
  // taken from the input, because cached states would change with it.
  int64_t reweight_length = 0;
  bool reweight = true;  // false: the paper's ablation, linear attention without weights
  // cosformer: phi of queries and keys. relu is the paper's; elu is ELU + 1, as in linear.
  std::string feature_map = "relu";

  // cosformer: weights also halve with every half_life tokens of distance in the first head, and
  // with every 2, 4, .. half_life tokens in those after it; causal only. 0: the paper's weights.
  double half_life = 0;

  int64_t window = 64;  // local: tokens that a token sees, itself included

  int64_t features = 0;  // performer: random features per head; 0: d ln d, as in the paper's code
  uint64_t seed = 0;     // performer: of the random features

  // Throws c10::ValueError for an unknown kind and for values out of range.
  void Validate() const;
};

struct AttentionKind;  // registry.h

// Options with what follows from them, resolved once per module.
struct ResolvedAttention {
  AttentionOptions options;             // valid
  std::optional<LinearForm> form = {};  // of cosformer and linear
  torch::Tensor projection = {};        // of performer
};

// One kind's memory of the tokens so far, for a batch that is decoded in lock step.
class AttentionState {
 public:
  virtual ~AttentionState() = default;

  // The next token of every row: q and k are [batch, heads, d], v is [batch, heads, d_v], in the
  // type the state was made for. Returns [batch, heads, d_v], equal to the parallel form's last
  // token to rounding. No gradients are recorded. Throws c10::Error for other shapes and types, and
  // for more tokens than cosformer's reweight_length.
  torch::Tensor Step(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v);

  // Memory of the state's tensors.
  virtual int64_t bytes() const = 0;

  // The sizes of a state; keys and values of tokens come on the device of `type`.
  struct Shape {
    int64_t batch = 1, heads = 1, width = 1, value_width = 1;
    torch::TensorOptions type;
  };

 protected:
  explicit AttentionState(const Shape& shape) : shape_(shape) {}
  const Shape& shape() const { return shape_; }

  // The type in which sums are kept: float64 for float64, float32 otherwise.
  torch::TensorOptions SumType() const;

 private:
  virtual torch::Tensor DoStep(const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& v) = 0;
  Shape shape_;
};

// The module of every kind: attends with the kind that the options name. It has no parameters;
// performer keeps its random features in the buffer "projection" [features, d].
class AttentionImpl : public torch::nn::Cloneable<AttentionImpl> {
 public:
  // `width` is d of queries and keys. Throws what Validate() throws.
  AttentionImpl(AttentionOptions options, int64_t width);

  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  // Mixed values [.., heads, L, d_v], in the inputs' type. Values at positions that
  // key_mask marks as padding change no output and get no gradient; outputs of padded queries are
  // finite and mean nothing. Throws c10::Error naming the argument, what was expected and found.
  torch::Tensor forward(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                        const torch::Tensor& key_mask = {});

  // An empty memory; causal options only.
  std::unique_ptr<AttentionState> MakeState(int64_t batch, int64_t heads, int64_t value_width,
                                            torch::TensorOptions type = {}) const;

  const AttentionOptions& options() const { return attention_.options; }

  // The form of cosformer's and linear's attention, which have kernels (linear_op.h).
  const std::optional<LinearForm>& form() const { return attention_.form; }

 private:
  ResolvedAttention attention_;
  const AttentionKind* kind_;
  int64_t width_;
};
TORCH_MODULE(Attention);

}  // namespace cosdt::attention
