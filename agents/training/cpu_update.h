// Loss and gradients of a Decision Transformer on the CPU, without autograd: the batch is computed
// in parts, so that a part's values are still in the last cache in the backward pass, blocks of
// rows stay in a core's own cache from one layer's attention to the next one's, and every gradient
// is added to its place in the optimiser's array. Computes what DecisionTransformerImpl, ActionLoss
// and autograd compute, to rounding, with the same dropout.
#pragma once

#include <torch/torch.h>

#include <optional>
#include <vector>

#include "agents/models/agent.h"
#include "agents/training/adamw.h"
#include "agents/training/cpu_embedding.h"
#include "agents/training/cpu_layers.h"
#include "agents/training/critic_guide.h"
#include "attention/linear_form.h"

namespace cosdt::agents {

class CpuUpdate {
 public:
  // Whether it can compute a model of these options: its width is a multiple of kernels::kPanel.
  static bool Takes(const DecisionTransformerOptions& options);

  // `model`'s parameters are those of `optimizer`, on the CPU. `type` is that of the blocks' matrix
  // products: float32, or bfloat16 on a processor with it (kernels::ProcessorHasBFloat16).
  // Allocates all that Run needs with as many threads, but for attention kinds without kernels.
  // `critic`, whose values of the batch's continuous actions join the loss, must outlive this
  // object.
  CpuUpdate(DecisionTransformer model, const AdamW& optimizer, int64_t batch_size,
            torch::ScalarType type, const CriticGuide* critic = nullptr);

  // Of a batch that several processes share: the first sequence of this one's part, and how many
  // real steps all have.
  struct Whole {
    int64_t first, real_steps;
  };

  // The loss of a batch [batch_size, context, ..], or its part in the whole one's; the gradients
  // are in the optimiser's array. The same bits with the same number of LibTorch's threads.
  double Run(const Batch& batch, uint64_t dropout_key, std::optional<Whole> whole = {});

 private:
  using Tensor = torch::Tensor;
  using Floats = kernels::Floats;

  // A part of queries, keys and values; attention with kernels gets the features of queries and
  // keys.
  struct Projection {
    CpuLinear linear;
    kernels::Epilogue features = kernels::Epilogue::kStore;
    int64_t every = 1, first = 0;  // of tokens first, first + every, ..
  };
  struct Layer {
    std::optional<attention::LinearForm> form;  // of attention with kernels
    std::vector<Projection> attention_in;
    CpuLinear attention_out, mlp_in, mlp_out;
    bool last;
    int64_t rows;  // after the attention: in the last layer, deciding tokens only
    Tensor qkv, mixed, normalizer;
    Floats dropped, hidden;
    CpuAddNorm after_attention, after_mlp;
    Tensor leaf, out;  // autograd's, of attention kinds without kernels
  };
  // The arrays of one thread.
  struct Lane {
    float* gradients = nullptr;  // laid out as the optimiser's array
    Floats own_gradients;        // the first thread's are the optimiser's
    Floats update, grad_y, grad_sum, hidden, activated;
    Floats padded;  // CpuEmbedding::Backward's
    double loss = 0;
    MlpPasses critic_passes;
    Floats critic_pairs, critic_values, critic_gradients;
  };

  void MakeParts(int64_t sequences);
  Layer MakeLayer(size_t i) const;
  void MakeLanes();
  void RunPart(const Batch& batch);
  void PackWeights();
  template <class Body>
  void ForBlocks(int64_t rows, const Body& body);
  kernels::DropPattern PatternOf(int64_t dropout_layer) const;
  Tensor Heads(const Tensor& qkv, int64_t i) const;  // i of q, k, v as [B, H, L, d]
  CpuAddNorm& Before(size_t i);                      // the input of layer i

  float* DecidingRow(float* tokens, int64_t row) const;
  void Project(Layer& layer, float* y, int64_t row, int64_t rows);
  void Attend(size_t i);
  void ForwardRows(size_t i, int64_t row, int64_t rows, Lane& lane);
  const float* ForwardMlp(Layer& layer, int64_t row, int64_t rows, Lane& lane);
  void HeadRows(int64_t row, int64_t rows, Lane& lane);
  void AskCritic(int64_t row, int64_t rows, const float* outputs, Lane& lane) const;
  void AddCriticRow(int64_t row, int64_t in_block, float* outputs, Lane& lane) const;
  void ErrorRow(int64_t row, float* outputs, Lane& lane) const;
  void CrossEntropyRow(int64_t row, float* outputs, Lane& lane) const;

  void BackwardRows(size_t i, int64_t row, int64_t rows, Lane& lane);
  void MlpBackward(Layer& layer, int64_t row, int64_t rows, Lane& lane);
  void SpreadLastGradients(int64_t row, int64_t rows, Lane& lane);
  void AttendBackward(size_t i);
  void ProjectBackward(Layer& layer, float* y, int64_t row, int64_t rows, Lane& lane);
  void SumLanes();

  DecisionTransformer model_;
  DecisionTransformerOptions options_;
  const CriticGuide* critic_;
  Tensor gradients_;
  bool bfloat16_;
  int64_t tokens_, batch_, width_;  // tokens_: per step
  int64_t part_ = 0, rows_ = 0;     // sequences and tokens of a part
  std::optional<CpuEmbedding> embedding_;
  std::vector<Layer> layers_;
  CpuLinear head_;
  Floats grad_x_;     // of the residual stream, [rows, width]
  Floats grad_last_;  // of what the last layer's attention gives, at deciding tokens
  Tensor grad_mixed_, grad_qkv_;
  std::vector<Lane> lanes_;

  // of the part at hand
  int64_t first_ = 0;  // of its sequences
  Batch data_;
  Tensor key_mask_;
  // of the update at hand
  uint64_t dropout_key_ = 0;
  int64_t before_ = 0;  // sequences of the whole batch before these
  double share_ = 0;    // of one element in the loss
};

}  // namespace cosdt::agents
