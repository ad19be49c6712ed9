// CPU kernels for acting: LayerNorm and attention over a memory, in vector instructions chosen at
// run time. They do not depend on LibTorch; decoding/cpu_model.h uses them.
//
// All sums of a row run in one order, whatever else is computed: a row's result does not
// depend on the number of rows or on its place among them. Everything is float32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "agents/kernels/gemm.h"

namespace cosdt::agents::kernels {

// to[row] = LayerNorm(from[row]) gamma + beta; the padding becomes 0. May be in place.
void Normalize(Rows from, int64_t rows, int64_t width, const float* gamma, const float* beta,
               float epsilon, Rows to);

// One layer's memory of one row's tokens: the latest ones with their keys and values, and of those
// before them, for linear kinds, sums.
inline constexpr int64_t kRecent = 64;  // tokens that linear kinds keep at most
struct CacheView {
  int64_t heads = 1, width = 1;     // of a head; its columns begin at multiples of Padded(width)
  int64_t length = 0;               // of the latest tokens; linear kinds: at most kRecent
  const float* keys = nullptr;      // [length / kPanel][columns][kPanel]: token by token in a row
  const float* values = nullptr;    // [length][columns]
  const float* sums = nullptr;      // [heads][parts width Padded(width)], or null: in an order of
                                    // the kernels' own
  const float* key_sums = nullptr;  // [heads][parts][width]
  int64_t columns() const { return heads * Padded(width); }
};

// One table per head, `stride` apart; 0: one for all.
struct HeadTables {
  const float* data = nullptr;
  ptrdiff_t stride = 0;
  const float* operator[](int64_t head) const { return data + head * stride; }
};

// Causal attention of the last `count` tokens of a memory, with queries q, to its tokens up to
// their own. Linear kinds, q and keys being features:
//   out_i = sum_j w_ij (q_i . k_j) v_j / max(sum_j w_ij (q_i . k_j), epsilon)
// w_ij is weights[head][j - i], for |j - i| < kRecent and 0 beyond the diagonal; the sums' parts,
// one or two, are weighted with phases[head], [count][parts].
void AttendLinear(const CacheView& cache, HeadTables weights, HeadTables phases, int64_t parts,
                  float epsilon, Rows q, int64_t count, Rows out);

// The same for softmax(q_i . k_j), with q already divided by the root of the width.
void AttendSoftmax(const CacheView& cache, Rows q, int64_t count, Rows out);

// sums += sum_j phases[head][part][j] k_j v_j over the memory's latest tokens, key_sums likewise. A
// head's phases, [parts][kRecent], are 0 from `length` on.
void Fold(const CacheView& cache, HeadTables phases, int64_t parts, float* sums, float* key_sums);

}  // namespace cosdt::agents::kernels
