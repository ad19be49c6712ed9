// Products of tiles in shared memory on tensor cores, one form for bfloat16 and float32: a warp
// multiplies 16 rows by 8 columns, kStep values deep.
#pragma once

#include "attention/cuda_warp.cuh"

namespace cosdt::attention::kernels::cuda {

constexpr int kChunk = 64;  // rows of a tile

// How products are computed. float32 runs in tf32: as three products of halves of the mantissa,
// which keep nearly all of it, or as one.
struct BFloat16Products {
  using Value = BFloat16;
};
struct Float32Products {
  using Value = float;
};
struct Tf32Products {
  using Value = float;
};

// Values of 16 bytes, which is also the padding between the rows of a tile: with it ldmatrix reads
// eight rows without bank conflicts.
template <class T>
constexpr int kVector = 16 / static_cast<int>(sizeof(T));

struct alignas(16) Vector {
  uint32_t words[4];
};
COSDT_DEVICE Vector LoadVector(const void* from) {
#ifdef __CUDACC__
  return *static_cast<const Vector*>(from);
#else
  Vector vector;
  __builtin_memcpy(&vector, from, sizeof vector);
  return vector;
#endif
}
COSDT_DEVICE void StoreVector(void* to, const Vector& vector) {
#ifdef __CUDACC__
  *static_cast<Vector*>(to) = vector;
#else
  __builtin_memcpy(to, &vector, sizeof vector);
#endif
}

// A function of every value of a word.
template <class Function>
COSDT_DEVICE uint32_t MapWord(float, uint32_t word, const Function& function) {
  return ToBits(function(FromBits(word)));
}
template <class Function>
COSDT_DEVICE uint32_t MapWord(BFloat16, uint32_t word, const Function& function) {
  return PackBFloat16(function(LowOf(word)), function(HighOf(word)));
}

// sum += the products of the values of two words
COSDT_DEVICE void AddDot(float, float& sum, uint32_t a, uint32_t b) {
  sum += FromBits(a) * FromBits(b);
}
COSDT_DEVICE void AddDot(BFloat16, float& sum, uint32_t a, uint32_t b) {
  sum += LowOf(a) * LowOf(b);
  sum += HighOf(a) * HighOf(b);
}

template <class T, int kColumns>
struct Tile {
  static constexpr int kStride = kColumns + kVector<T>;
  T x[kChunk][kStride];
};

// How deep a product is.
template <class T>
constexpr int kStep = kVector<T> * 2;

// The left factor, rows [row, row + 16) and columns [column, column + kStep) of rows in memory.
template <class T>
COSDT_DEVICE void LoadLeft(uint32_t (&to)[4], const T* tile, int stride, int row, int column) {
  const int lane = ThreadIndex() % 32;
  LoadMatrices(to, tile + (row + lane % 16) * stride + column + lane / 16 * kVector<T>);
}

// The left factor from its transpose: rows [row, ..) are columns of the tile in memory.
COSDT_DEVICE void LoadLeftTransposed(uint32_t (&to)[4], const BFloat16* tile, int stride, int row,
                                     int column) {
  const int lane = ThreadIndex() % 32;
  LoadTransposedMatrices(
      to, tile + (column + lane % 8 + lane / 16 * 8) * stride + row + lane / 8 % 2 * 8);
}
COSDT_DEVICE void LoadLeftTransposed(uint32_t (&to)[4], const float* tile, int stride, int row,
                                     int column) {
  const int lane = ThreadIndex() % 32;
  const float* const from = tile + (column + lane % 4) * stride + row + lane / 4;
  to[0] = ToBits(from[0]);
  to[1] = ToBits(from[8]);
  to[2] = ToBits(from[4 * stride]);
  to[3] = ToBits(from[4 * stride + 8]);
}

// Two right factors side by side, columns [column, column + 16) of the factor, from its transpose:
// these columns are rows in memory, whose columns [depth, depth + kStep) are read.
template <class T>
COSDT_DEVICE void LoadRightTransposed(uint32_t (&to)[4], const T* tile, int stride, int column,
                                      int depth) {
  const int lane = ThreadIndex() % 32;
  LoadMatrices(
      to, tile + (column + lane % 8 + lane / 16 * 8) * stride + depth + lane / 8 % 2 * kVector<T>);
}

// Two right factors side by side as they stand in memory: rows [depth, depth + kStep), columns
// [column, column + 16).
COSDT_DEVICE void LoadRight(uint32_t (&to)[4], const BFloat16* tile, int stride, int depth,
                            int column) {
  const int lane = ThreadIndex() % 32;
  LoadTransposedMatrices(to, tile + (depth + lane % 16) * stride + column + lane / 16 * 8);
}
COSDT_DEVICE void LoadRight(uint32_t (&to)[4], const float* tile, int stride, int depth,
                            int column) {
  const int lane = ThreadIndex() % 32;
  const float* const from = tile + (depth + lane % 4) * stride + column + lane / 4;
  to[0] = ToBits(from[0]);
  to[1] = ToBits(from[4 * stride]);
  to[2] = ToBits(from[8]);
  to[3] = ToBits(from[4 * stride + 8]);
}

// A transposed left factor with its rows in memory, [depth, ..), times a factor per row.
COSDT_DEVICE void ScaleLeft(uint32_t (&to)[4], const uint32_t (&left)[4], const BFloat16* factors,
                            int depth) {
  const BFloat16* const from = factors + depth + ThreadIndex() % 4 * 2;
  const uint32_t pairs[2] = {LoadWord(from), LoadWord(from + 8)};
  COSDT_UNROLL for (int i = 0; i < 4; ++i) to[i] = MultiplyPairs(left[i], pairs[i / 2]);
}
COSDT_DEVICE void ScaleLeft(uint32_t (&to)[4], const uint32_t (&left)[4], const float* factors,
                            int depth) {
  const float* const from = factors + depth + ThreadIndex() % 4;
  COSDT_UNROLL for (int i = 0; i < 4; ++i) to[i] = ToBits(FromBits(left[i]) * from[i / 2 * 4]);
}

// sum += left right
COSDT_DEVICE void AddProduct(BFloat16Products, float (&sum)[4], const uint32_t (&left)[4],
                             uint32_t right_0, uint32_t right_1) {
  MmaBFloat16(sum, left, right_0, right_1);
}
COSDT_DEVICE void AddProduct(Tf32Products, float (&sum)[4], const uint32_t (&left)[4],
                             uint32_t right_0, uint32_t right_1) {
  const auto rounded = [](uint32_t word) { return word + 0x1000; };
  const uint32_t main[4] = {rounded(left[0]), rounded(left[1]), rounded(left[2]), rounded(left[3])};
  MmaTf32(sum, main, rounded(right_0), rounded(right_1));
}
// The hardware reads the upper 19 bits of a word, so that adding half of the last of these rounds a
// factor; the rounding error is the second one.
COSDT_DEVICE void AddProduct(Float32Products, float (&sum)[4], const uint32_t (&left)[4],
                             uint32_t right_0, uint32_t right_1) {
  const auto rounded = [](uint32_t word) { return word + 0x1000; };
  const auto rest = [](uint32_t word) {
    return ToBits(FromBits(word) - FromBits((word + 0x1000) & 0xffffe000u));
  };
  const uint32_t main[4] = {rounded(left[0]), rounded(left[1]), rounded(left[2]), rounded(left[3])};
  const uint32_t small[4] = {rest(left[0]), rest(left[1]), rest(left[2]), rest(left[3])};
  MmaTf32(sum, small, rounded(right_0), rounded(right_1));
  MmaTf32(sum, main, rest(right_0), rest(right_1));
  MmaTf32(sum, main, rounded(right_0), rounded(right_1));
}

}  // namespace cosdt::attention::kernels::cuda
