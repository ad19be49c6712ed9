// CUDA kernels of a training update of the Decision Transformer, between its matrix products. They
// do not depend on LibTorch; update_ops.h binds them. Arrays are row-major and contiguous if no
// stride is given. All sums have one order, so that bits repeat.
#pragma once

#include <cstdint>

#include "agents/models/step_tokens.h"
#include "agents/training/update_inputs.h"

struct CUstream_st;

namespace cosdt::agents::kernels {

// Sums over rows, such as biases' gradients, are made in parts: part p sums the rows [p n, (p + 1)
// n) of an array, n = ceil(rows / parts), and one last kernel adds the parts up. Every array of
// parts is a few columns of one [parts, stride].
struct Parts {
  float* at = nullptr;
  int64_t stride = 0;
  int64_t count = 0;
};

// The part of an update that is not in a recorded graph (update_inputs.h).
struct UpdateInputs {
  int64_t* words = nullptr;
  int64_t width = 0;  // words of a row
  int64_t rows = 0;
};

// A step's tokens (step_tokens.h) from the data and their embeddings; the row of tokens is
// (window, step, token).
struct EmbedShape {
  int64_t tokens_per_step = 3;
  int64_t batch = 0, context = 0, width = 0, observation_size = 0, action_size = 0;
  int64_t timestep_limit = 0;            // rows of the timestep table
  const float* returns_to_go = nullptr;  // [data rows]
  const float* observations = nullptr;   // [data rows, observation_size]
  const float* actions = nullptr;        // [data rows, action_size]
  COSDT_BOTH int64_t tokens() const { return tokens_per_step * batch * context; }
};

struct EmbedForward {
  EmbedShape shape;
  UpdateInputs inputs;
  double p = 0;
  bool bfloat16 = false;  // y is bfloat16
  const float* table = nullptr;
  const float *weights[step_tokens::kInputs] = {}, *biases[step_tokens::kInputs] = {};
  const float *gamma_0 = nullptr, *beta_0 = nullptr;  // of the embeddings' LayerNorm
  const float *gamma = nullptr, *beta = nullptr;      // of the first block's
  double epsilon_0 = 0, epsilon = 0;
  bool* mask = nullptr;           // [tokens]
  float* tokens = nullptr;        // [tokens, width], before any LayerNorm
  float* statistics_0 = nullptr;  // [2, tokens]: means, inverse standard deviations
  float* x = nullptr;             // [tokens, width]: dropped
  float* statistics = nullptr;    // [2, tokens]
  void* y = nullptr;              // [tokens, width]
};

struct EmbedBackward {
  EmbedShape shape;
  UpdateInputs inputs;
  double p = 0;
  bool bfloat16 = false;
  const float *gamma_0 = nullptr, *gamma = nullptr;
  const float *tokens = nullptr, *statistics_0 = nullptr, *x = nullptr, *statistics = nullptr;
  const void* grad_y = nullptr;
  const float* grad_x = nullptr;  // of the residual stream
  bool sparse = false;            // grad_x has rows of deciding tokens alone
  float* grad_tokens = nullptr;
  Parts parts;  // 4 width: gamma, beta, gamma_0, beta_0
};

struct EmbedGradients {
  EmbedShape shape;
  UpdateInputs inputs;
  const float* grad_tokens = nullptr;
  float* grad_table = nullptr;  // [timestep_limit, width], written whole
  Parts parts;                  // weight and bias of each input
};

// x + drop(update) and its LayerNorm.
struct AddNormForward {
  int64_t rows = 0, width = 0;
  bool bfloat16 = false;  // update and y are bfloat16
  UpdateInputs inputs;
  int64_t layer = 0;  // of dropout's keys
  double p = 0, epsilon = 0;
  const float* x = nullptr;
  int64_t x_stride = 0;  // between rows
  const void* update = nullptr;
  const float *gamma = nullptr, *beta = nullptr;
  float *sum = nullptr, *statistics = nullptr;
  void* y = nullptr;
};

// y again from AddNormForward's sum and statistics.
struct Normalize {
  int64_t rows = 0, width = 0;
  bool bfloat16 = false;
  const float *sum = nullptr, *statistics = nullptr, *gamma = nullptr, *beta = nullptr;
  void* y = nullptr;
};

struct AddNormBackward {
  int64_t rows = 0, width = 0;
  bool bfloat16 = false;
  UpdateInputs inputs;
  int64_t layer = 0;
  double p = 0;
  const float *sum = nullptr, *statistics = nullptr, *gamma = nullptr;
  const void* grad_y = nullptr;
  const float* grad_sum = nullptr;  // or null: 0; may be grad_x unless sparse
  int64_t tokens = 1;               // above 1: it has rows of deciding tokens alone, of so many
  float* grad_x = nullptr;
  void* grad_update = nullptr;
  Parts norm;  // 2 width: gamma, beta
  Parts bias;  // width: sums of grad_update's columns
};

// Drops values of `rows` rows. With kGather, row r is read from that of step r's deciding token;
// with kScatter, it is written there and the rows of other tokens become zeros.
struct DropRows {
  enum Mode { kPlain, kGather, kScatter };
  Mode mode = kPlain;
  int64_t tokens = 1;  // per step
  int64_t rows = 0, width = 0;
  bool bfloat16 = false;
  UpdateInputs inputs;
  int64_t layer = 0;
  double p = 0;
  const void* from = nullptr;
  void* to = nullptr;
};

// Column sums of x; before that, with `hidden`, x becomes x times the activation's slope: relu's by
// its output, gelu's by its input.
struct ColumnSums {
  enum Slope { kNone, kRelu, kGelu };
  Slope slope = kNone;
  int64_t rows = 0, width = 0;
  bool bfloat16 = false;
  const void* hidden = nullptr;
  void* x = nullptr;
  bool accumulate = false;  // adds to the parts
  Parts parts;
};

// tanh of the head, the loss over real steps and its gradient.
struct HeadLoss {
  int64_t batch = 0, context = 0, width = 0, action_size = 0;
  bool bfloat16 = false;  // y and grad_y
  UpdateInputs inputs;
  const void* y = nullptr;  // [batch, context, width]
  const float *weight = nullptr, *bias = nullptr;
  const float* actions = nullptr;  // [data rows, action_size]
  void* grad_y = nullptr;
  Parts parts;  // weight, bias, loss
};

// Adds the parts up; column c goes to gradient[places[c]], the last one to the update's loss.
struct SumParts {
  int64_t columns = 0;
  const int64_t* places = nullptr;
  Parts parts;
  UpdateInputs inputs;
  float* gradient = nullptr;
  float* results = nullptr;
};

// Sums of squares of `count` parts of the gradient.
struct Squares {
  int64_t size = 0;  // a multiple of 4, aligned to 16 bytes
  const float* gradient = nullptr;
  float* squares = nullptr;
  int64_t count = 0;
};

struct AdamWStep {
  int64_t size = 0;  // a multiple of 4, arrays aligned to 16 bytes
  int64_t squares_count = 0;
  const float* squares = nullptr;
  const float* gradient = nullptr;
  double clip = 0;
  float *parameters = nullptr, *first = nullptr, *second = nullptr;
  void* bfloat16_copy = nullptr;  // bfloat16 copy of the parameters, or null
  UpdateInputs inputs;
  float* results = nullptr;
};

// The widest rows that the kernels take.
inline constexpr int64_t kMaxColumns = 512;

void Run(const EmbedForward& op, CUstream_st* stream);
void Run(const EmbedBackward& op, CUstream_st* stream);
void Run(const EmbedGradients& op, CUstream_st* stream);
void Run(const AddNormForward& op, CUstream_st* stream);
void Run(const Normalize& op, CUstream_st* stream);
void Run(const AddNormBackward& op, CUstream_st* stream);
void Run(const DropRows& op, CUstream_st* stream);
void Run(const ColumnSums& op, CUstream_st* stream);
void Run(const HeadLoss& op, CUstream_st* stream);
void Run(const SumParts& op, CUstream_st* stream);
void Run(const Squares& op, CUstream_st* stream);
void Run(const AdamWStep& op, CUstream_st* stream);

}  // namespace cosdt::agents::kernels
