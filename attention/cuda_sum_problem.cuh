// The kernels' arguments for one pass over causal linear attention: the rows, the sums over them
// and how they are cut into segments.
#pragma once

#include "attention/cuda_warp.cuh"
#include "attention/linear_kernels.h"

namespace cosdt::attention::kernels::cuda {

// An array [batch, heads, length, width] and how its values change when they are loaded.
struct Rows {
  char* data = nullptr;
  int batch = 0, head = 0, token = 0;  // strides in bytes: 32 bits make addresses one instruction
  int width = 0;                       // columns; a multiple of kVector
  Features features = Features::kIdentity;
  bool masked = false;  // zeros at padding
};

// The term added to a product of query and key: nothing, d of the query's row or d of the key's.
enum class Extra { kNone, kOfQuery, kOfKey };

// One sum over earlier rows, with w_xy = cos(pi/2 (x - y) / M):
//   out_x = f_x sum_{y <= x} w_xy (query_x . key_y + extra_xy) f_y value_y
//   output:        query phi(q), key phi(k), value v (D is summed up, too, and divides it)
//   gradient of q: query g, key v, value phi(k), f_x = r_x, extra d_x
//   gradient of k: query v, key g, value phi(q), f_y = r_y, extra d_y; reversed
//   gradient of v: query phi(k), key phi(q), value g, f_y = r_y; reversed
// with r = 1 / max(D, eps) and d of attention/README.md, equation (4), which no f multiplies.
struct CausalSum {
  Rows query, key, value;
  Extra extra = Extra::kNone;
  bool scales_query = false;  // f_x = r_x
  bool scales_key = false;    // f_y = r_y
  bool reversed = false;      // rows count from the last token
  Rows slope{};               // gradients are multiplied by phi' of these rows
  Rows out{};                 // `masked` ones are zero at padding
};

constexpr int kMaxSums = 3;  // of a pass

// Up to this many segments a block adds up the states before its own; beyond, a scan does.
constexpr int kMaxUnscanned = 8;

struct PassArguments {
  CausalSum sums[kMaxSums];
  int heads = 1;         // of a batch element
  int length = 1;        // tokens
  float half_turns = 0;  // of the phase from one token to the next: 1 / 2M; 0: weights are 1
  const bool* mask = nullptr;
  bool normalize = true;
  float eps = 0;
  float* normalizer = nullptr;    // D [batch, heads, length]
  const float* deltas = nullptr;  // d likewise, which gradients read
  int segments = 1, chunks_per_segment = 1;
  float* states = nullptr;  // [sums, slices, heads, segments, values, threads]
};

COSDT_DEVICE float Reciprocal(float sum, float eps) { return Inverse(sum < eps ? eps : sum); }

// phi, ELU + 1 or ReLU; a NaN stays one.
template <bool kElu>
COSDT_DEVICE float Feature(float x) {
  return kElu ? MaxOrNan(x, 0) + Exp(MinOf(x, 0.0f)) : MaxOrNan(x, 0);
}

// phi'
template <bool kElu>
COSDT_DEVICE float Slope(float x) {
  return kElu ? Exp(MinOf(x, 0.0f)) : x > 0 ? 1.0f : 0.0f;
}

// A kernel's task: sums of one chunk, of several with a state between them, or each
// segment's contribution to the state.
enum class Task { kOneChunk, kManyChunks, kStates };

}  // namespace cosdt::attention::kernels::cuda
