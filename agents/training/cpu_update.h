// Loss and gradients of a Decision Transformer on the CPU, without autograd: blocks of rows stay in
// the cache from one layer's attention to the next one's, in the kernels of agents/kernels, and
// every gradient is added to its place in the optimiser's array. Computes what
// DecisionTransformerImpl, ActionLoss and autograd compute, to rounding, with the same dropout.
#pragma once

#include <torch/torch.h>

#include <optional>
#include <vector>

#include "agents/kernels/fused_norm.h"
#include "agents/kernels/gemm.h"
#include "agents/models/agent.h"
#include "agents/training/adamw.h"
#include "attention/linear_form.h"

namespace cosdt::agents {

class CpuUpdate {
 public:
  // Whether it can compute a model of these options: one whose width is a multiple of
  // kernels::kPanel.
  static bool Takes(const DecisionTransformerOptions& options);

  // `model`'s parameters are those of `optimizer`, on the CPU. `type` is that of the blocks' matrix
  // products: float32, or bfloat16 on a processor with it (kernels::ProcessorHasBFloat16).
  // Allocates all that Run needs, but for attention kinds without kernels.
  CpuUpdate(DecisionTransformer model, const AdamW& optimizer, int64_t batch_size,
            torch::ScalarType type);

  // The loss of a batch [batch_size, context, ..]; its gradients are in the optimiser's array. The
  // same bits with the same number of LibTorch's threads.
  double Run(const Batch& batch, uint64_t dropout_key);

 private:
  using Tensor = torch::Tensor;
  using Floats = kernels::Floats;

  // A linear layer, or the part of one that begins with output `column`.
  struct Linear {
    const float *weight = nullptr, *bias = nullptr;
    int64_t inputs = 0, outputs = 0;
    ptrdiff_t weight_at = 0, bias_at = 0;  // in the optimiser's array
    int64_t column = 0;
    bool observations_only = false;
    bool bfloat16 = false;
    kernels::Packed forward, backward;
  };
  struct Norm {
    const float *gamma = nullptr, *beta = nullptr;
    double epsilon = 0;
    ptrdiff_t gamma_at = 0, beta_at = 0;
  };
  // What is normalised, and the LayerNorm's output y.
  struct Sum {
    Floats sum, mean, inverse_std, y;
    Norm norm;
  };
  struct Layer {
    std::vector<Linear> attention_in;
    Linear attention_out, mlp_in, mlp_out;
    bool last = false;
    int64_t rows = 0;  // behind the attention: of the last layer, observation tokens alone
    Tensor qkv, mixed, normalizer;
    Floats dropped, hidden;
    Sum after_attention, after_mlp;
    Tensor leaf, out;  // autograd's, of attention kinds without kernels
  };
  // What a thread has for itself.
  struct Lane {
    float* gradients = nullptr;  // laid out as the optimiser's array
    Floats own_gradients;        // the first thread's are the optimiser's
    Floats update, grad_y, grad_sum, hidden, activated, affine;
    Floats embedding_gradients;  // [features][width][padded]
    double loss = 0;
  };

  Linear MakeLinear(const torch::nn::Linear& layer, bool bfloat16 = false, int64_t column = 0,
                    int64_t outputs = 0) const;
  Norm MakeNorm(const torch::nn::LayerNorm& norm) const;
  Sum MakeSum(int64_t rows, const torch::nn::LayerNorm& norm) const;
  Layer MakeLayer(size_t i) const;
  void MakeLanes();
  void PackWeights();
  void CopyFeatures(const Batch& batch);
  template <class Body>
  void ForBlocks(int64_t rows, const Body& body);
  template <class Body>
  void ForLinears(const Body& body);

  kernels::DropPattern PatternOf(int64_t dropout_layer) const;
  kernels::AddNorm NormOf(Sum& sum, int64_t row, int64_t dropout_layer) const;
  Tensor Heads(const Tensor& qkv, int64_t i) const;  // i of q, k, v as [B, H, L, d]
  void Project(Layer& layer, const float* y, int64_t row, int64_t rows);
  void EmbedRows(int64_t row, int64_t rows, Lane& lane);
  void Attend(size_t i);
  void ForwardRows(size_t i, int64_t row, int64_t rows, Lane& lane);
  void HeadRows(int64_t row, int64_t rows, Lane& lane);
  void BackwardRows(size_t i, int64_t row, int64_t rows, Lane& lane);
  void NormBackward(const kernels::AddNorm& op, const Norm& norm, const float* grad_sum,
                    float* grad_x, int64_t rows, Lane& lane);
  void LinearBackward(const Linear& layer, kernels::Rows grad, kernels::Rows x, int64_t rows,
                      kernels::Epilogue epilogue, kernels::Rows grad_x, Lane& lane);
  void MlpBackward(Layer& layer, int64_t row, int64_t rows, Lane& lane);
  void ProjectBackward(Layer& layer, const float* y, int64_t row, int64_t rows, Lane& lane);
  void AttendBackward(size_t i);
  void EmbedRowsBackward(int64_t row, int64_t rows, Lane& lane);
  void SumLanes();

  DecisionTransformer model_;
  DecisionTransformerOptions options_;
  Tensor parameters_, gradients_;
  bool bfloat16_;
  int64_t batch_, rows_, width_;               // rows_: tokens of the batch
  std::optional<attention::LinearForm> form_;  // of attention with kernels
  std::vector<Layer> layers_;
  std::vector<Linear> embeddings_;  // of returns-to-go, observations and actions
  Linear head_;
  std::vector<Floats> features_;  // [B K, padded] of each embedding
  Sum tokens_, embedded_;
  Floats grad_x_;      // of the residual stream, [rows, width]
  Floats grad_last_;   // of what the last layer's attention gives, at observation tokens
  Floats grad_steps_;  // [B K, width]: of the timestep's embedding
  Tensor grad_mixed_, grad_qkv_;
  std::vector<Lane> lanes_;

  // of the update at hand
  Batch data_;
  Tensor key_mask_;
  uint64_t dropout_key_ = 0;
  double share_ = 0;  // of one element in the loss
};

}  // namespace cosdt::agents
