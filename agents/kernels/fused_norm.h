// CPU kernels of the models' layers, in vector instructions chosen at run time. They do not
// depend on LibTorch; models call them through models/fused_ops.h.
#pragma once

#include <cstdint>

namespace cosdt::agents::kernels {

// Which elements are dropped. Element i of a tensor is dropped if a hash of (key, i) is below p:
// any part of the pattern can be made anywhere, in any order, and is made again in the backward
// pass instead of being kept. The hash is two rounds of a 32-bit mixer (xor-shifts by 16, 15, 16
// and multiplications by 0x7feb352d and 0x846ca68b, found by C. Wellons' search for low bias) with
// one half of the key each. Kept elements are multiplied by 1 / (1 - p).
struct DropPattern {
  double p = 0;
  uint64_t key = 0;
  int64_t first = 0;  // the tensor's element that is element 0 of the arrays given to the kernels
};

// to[i] = from[i] times 0 or 1 / (1 - p), for i in [begin, end). `bfloat16`: elements are bfloat16,
// else float32.
void Drop(bool bfloat16, const void* from, const DropPattern& drop, int64_t begin, int64_t end,
          void* to);

// sum = x + drop(update), norm = LayerNorm(sum) gamma + beta, row by row of `width` elements, all
// contiguous.
struct AddNorm {
  int64_t width = 0;
  int64_t first_row = 0;     // the arrays' first row, counted in the tensor that is dropped from
  bool bfloat16 = false;     // update and norm are bfloat16; all else is float32
  const float* x = nullptr;  // or null: 0
  const void* update = nullptr;
  DropPattern drop;
  const float* gamma = nullptr;
  const float* beta = nullptr;
  double epsilon = 1e-5;
  float* sum = nullptr;
  void* norm = nullptr;
  float* mean = nullptr;         // [rows]
  float* inverse_std = nullptr;  // [rows]
};
void FusedAddNorm(const AddNorm& op, int64_t begin, int64_t end);

// Gradients of the same: of x in grad_x (also the residual's), of update in grad_update, and of
// gamma and beta added to the 2 `width` elements at grad_affine. grad_sum or grad_norm may be null:
// 0.
struct AddNormGradient {
  const float* grad_sum = nullptr;
  const void* grad_norm = nullptr;
  float* grad_x = nullptr;  // or null: not wanted
  void* grad_update = nullptr;
};
void FusedAddNormBackward(const AddNorm& op, const AddNormGradient& gradient, int64_t begin,
                          int64_t end, float* grad_affine);

}  // namespace cosdt::agents::kernels
