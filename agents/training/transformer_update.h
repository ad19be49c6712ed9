// Loss and gradients of a Decision Transformer on windows of a dataset, without autograd: every
// gradient is written once, to its place in the optimiser's array, by a fixed sequence of
// operations on fixed arrays, which a CUDA graph can hold. Computes what DecisionTransformerImpl,
// ActionLoss and autograd compute, to rounding, with the same dropout, on any device.
#pragma once

#include <torch/torch.h>

#include <optional>
#include <string>
#include <vector>

#include "agents/models/decision_transformer.h"
#include "agents/training/adamw.h"
#include "attention/linear_core.h"

namespace cosdt::agents {

class TransformerUpdate {
 public:
  // Whether it can compute a model of these options on the device.
  static bool Takes(const DecisionTransformerOptions& options);

  // `model`'s parameters are those of `optimizer`. `data`: returns-to-go (scaled) [n], observations
  // (normalized) [n, O] and actions [n, A] of all steps. `inputs` is the array of update_inputs.h,
  // `results` [updates, 2]. `type`, float32 or bfloat16, is that of matrix products and attention.
  // Allocates all that Run needs, but for attention kinds without kernels.
  TransformerUpdate(DecisionTransformer model, const AdamW& optimizer,
                    std::vector<torch::Tensor> data, int64_t batch_size, torch::ScalarType type,
                    torch::Tensor inputs, torch::Tensor results);

  // The gradients and the loss of the update whose inputs lie ready.
  void Run();

  // The parameters in bfloat16, one array as the optimiser's; code that changes the parameters
  // must keep it equal to them. Undefined in float32.
  const torch::Tensor& bfloat16_copy() const { return bfloat16_copy_; }

  // Elements of a window of which the layer `i` of dropout drops some.
  int64_t DropoutElements(int64_t i) const;

  // Memory of the arrays that it holds.
  int64_t bytes() const { return bytes_; }

 private:
  using Tensor = torch::Tensor;

  struct Linear {
    Tensor weight, bias;  // of the type of products
    Tensor grad_weight;
    int64_t bias_column = 0;
    Tensor bias_parts;
  };
  struct Norm {
    Tensor gamma, beta;
    double epsilon = 0;
    int64_t column = 0;
    Tensor parts;
  };
  // x + update, normalized
  struct Sum {
    Tensor sum, statistics;
    Tensor y;  // undefined if it is computed again
    Norm norm;
  };
  struct Layer {
    std::optional<attention::LinearForm> form;  // of attention with kernels
    Linear attention_in, attention_out, mlp_in, mlp_out;
    bool last = false;
    int64_t rows = 0;  // behind the attention: of the last layer, deciding tokens alone
    Tensor qkv, mixed, normalizer, dropped, hidden, activated;
    Sum after_attention, after_mlp;
    Tensor leaf, out;  // autograd's, of attention kinds without kernels
  };

  Tensor Empty(torch::IntArrayRef shape, torch::ScalarType type);
  Tensor Compute(torch::IntArrayRef shape) { return Empty(shape, type_); }
  Linear MakeLinear(const torch::nn::Linear& layer);
  Norm MakeNorm(const torch::nn::LayerNorm& norm);
  void MakeLayers();
  void MakeEmbedding();
  void MakeScratch();
  int64_t AddColumns(const std::vector<Tensor>& parameters);
  Tensor Parts(int64_t column, int64_t columns) const;
  Sum MakeSum(int64_t rows, const torch::nn::LayerNorm& norm);

  Tensor Heads(const Tensor& qkv, int64_t i) const;  // i of q, k, v as [B, H, L, d]
  Tensor DecidingRows(const Tensor& x) const;
  Tensor Y(const Sum& sum);
  void Product(const Tensor& x, const Linear& layer, Tensor to) const;
  void Activate(const Layer& layer, const Tensor& x, Tensor hidden, Tensor activated) const;
  void Attend(size_t i);
  void AttendBackward(size_t i, const Tensor& grad_mixed);
  void MlpBackward(Layer& layer, const Tensor& grad, Tensor grad_y);
  void Forward();
  void Backward();

  DecisionTransformer model_;
  DecisionTransformerOptions options_;
  Tensor parameters_, gradients_;
  std::vector<Tensor> data_;
  int64_t tokens_per_step_, batch_, context_, rows_, width_;  // rows_: tokens of the batch
  torch::ScalarType type_;
  Tensor inputs_, results_, bfloat16_copy_;
  bool frugal_ = false;  // large: what is cheap to compute again is not kept
  int64_t block_rows_ = 0;
  int64_t bytes_ = 0;

  std::vector<int64_t> places_of_columns_;
  Tensor places_, parts_;
  std::vector<Tensor> embed_weights_;
  Tensor mask_, tokens_, statistics_0_;
  Tensor grad_table_, embed_parts_, embed_norm_parts_, head_weight_, head_bias_, head_parts_;
  Sum embedded_;
  std::vector<Layer> layers_;
  // rows of any layer: of the type of products
  Tensor y_, update_, grad_y_, grad_qkv_, grad_hidden_, block_hidden_, block_activated_;
  Tensor grad_x_, grad_x_last_;  // of the residual stream
};

}  // namespace cosdt::agents
