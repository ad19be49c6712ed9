// The operations of a training update of the Decision Transformer that LibTorch does not have in
// one piece, in the library `cosdt` of LibTorch's dispatcher: for the CPU (on the kernels of
// fused_norm.h, to test with), for CUDA (update_kernels.h), and for the meta device, on which
// they do nothing. All write to their arguments and allocate no results. `bfloat16` types are
// bfloat16; all that is not of the compute type (float32 or bfloat16) is float32. `inputs`
// is the array of update_inputs.h. Statistics are [2, rows]: a LayerNorm's means and inverse
// standard deviations. Parts are [parts, columns] of a wider array (update_kernels.h).
#pragma once

#include <torch/torch.h>

namespace cosdt::agents::update_ops {

// Whether CUDA's kernels take these sizes.
bool KernelsTake(int64_t width, int64_t action_size);

// How many parts sums over `rows` rows have.
int64_t PartsFor(int64_t rows);

// The parameters of the embeddings, in this order: timestep table, weight and bias of
// returns-to-go, of observations and of actions, gamma and beta of the embeddings' LayerNorm, gamma
// and beta of the first block's. `data`: returns_to_go [n], observations [n, O], actions [n, A].
struct Embedding {
  torch::TensorList data, weights;
  torch::Tensor inputs;
  int64_t tokens_per_step;
  double p;
};
// With L = tokens_per_step K: tokens, x [B, L, width], y the same in the compute type, mask [B, L].
void EmbedForward(const Embedding& embedding, double epsilon, torch::Tensor mask,
                  torch::Tensor tokens, torch::Tensor statistics_0, torch::Tensor x,
                  torch::Tensor statistics, torch::Tensor y);
// grad_x is [B, L, width] or, of only deciding tokens, [B, K, width]; parts 4 width.
void EmbedBackward(const Embedding& embedding, const torch::Tensor& tokens,
                   const torch::Tensor& statistics_0, const torch::Tensor& x,
                   const torch::Tensor& statistics, const torch::Tensor& grad_y,
                   const torch::Tensor& grad_x, torch::Tensor grad_tokens, torch::Tensor parts);
// Parts: weight and bias of each linear layer.
void EmbedGradients(const Embedding& embedding, const torch::Tensor& grad_tokens,
                    torch::Tensor grad_table, torch::Tensor parts);

// sum = x + drop(update), y its LayerNorm. Rows of x [rows, width] may be apart.
void AddNormForward(const torch::Tensor& x, const torch::Tensor& update,
                    const torch::Tensor& inputs, int64_t layer, double p,
                    const torch::Tensor& gamma, const torch::Tensor& beta, double epsilon,
                    torch::Tensor sum, torch::Tensor statistics, torch::Tensor y);
// y again.
void Normalize(const torch::Tensor& sum, const torch::Tensor& statistics,
               const torch::Tensor& gamma, const torch::Tensor& beta, torch::Tensor y);
// grad_sum undefined: 0; with fewer rows: of deciding tokens alone. It may be grad_x if it has all
// rows. Parts: gamma and beta, and the column sums of grad_update.
void AddNormBackward(const torch::Tensor& sum, const torch::Tensor& statistics,
                     const torch::Tensor& gamma, const torch::Tensor& grad_y,
                     const torch::Tensor& grad_sum, const torch::Tensor& inputs, int64_t layer,
                     double p, torch::Tensor grad_x, torch::Tensor grad_update,
                     torch::Tensor norm_parts, torch::Tensor bias_parts);

// Equally many rows [rows, width]: drops. Fewer in `to`: of the rows of deciding tokens of `from`.
// Fewer in `from`: to these rows, and zeros to the others.
void DropRows(const torch::Tensor& from, const torch::Tensor& inputs, int64_t layer, double p,
              torch::Tensor to);

// x becomes x times the slope of the activation, by relu's output or gelu's input, and parts the
// column sums. `activation`: relu, gelu or "" (no slope).
void ColumnSums(const std::string& activation, const torch::Tensor& hidden, torch::Tensor x,
                bool accumulate, torch::Tensor parts);

// to [out, in] = grad^T x (or += it), sums in float32 whatever the type.
void WeightGradient(const torch::Tensor& grad, const torch::Tensor& x, bool accumulate,
                    torch::Tensor to);

// tanh of the head for y [B, K, width], the loss against the data's actions, and the gradients.
// Parts: weight, bias, loss.
void HeadLoss(const torch::Tensor& y, const torch::Tensor& weight, const torch::Tensor& bias,
              const torch::Tensor& actions, const torch::Tensor& inputs, torch::Tensor grad_y,
              torch::Tensor parts);

// Adds the parts of all columns up: column c is gradient[places[c]], the last one the loss in
// `results` [updates, 2].
void SumParts(const torch::Tensor& parts, const torch::Tensor& places, const torch::Tensor& inputs,
              torch::Tensor gradient, torch::Tensor results);

// squares [n]: sums of squares of parts of the gradient.
void Squares(const torch::Tensor& gradient, torch::Tensor squares);
inline constexpr int64_t kSquares = 128;

// One step of AdamW and the end of the update. If loss and norm are finite, and were in all
// updates before, parameters and moments change, and the parameters' rounded copy, if there is one;
// else only the note in `inputs` does. Writes the norm to `results` and moves the next
// update's inputs into place.
void AdamWStep(torch::Tensor parameters, torch::Tensor first, torch::Tensor second,
               const torch::Tensor& gradient, const torch::Tensor& squares, double clip,
               torch::Tensor inputs, torch::Tensor results, torch::Tensor bfloat16_copy);

}  // namespace cosdt::agents::update_ops
