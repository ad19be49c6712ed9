// Products of tiles in shared memory on tensor cores, one form for bfloat16 and float32: a warp
// multiplies 16 rows by 8 columns, kStep values deep. float32 runs in tf32: three products of halves
// of the mantissa, which keep nearly all of it, or one where the caller allows that.
#pragma once

#include "attention/cuda_warp.cuh"

namespace cosdt::attention::kernels::cuda {

constexpr int kChunk = 64;  // rows of a tile

// Values of 16 bytes, which is what lies between the rows of a tile as well: with it ldmatrix reads
// eight rows without bank conflicts.
template <class T>
constexpr int kVector = 16 / static_cast<int>(sizeof(T));

template <class T>
struct alignas(16) Vector {
  T x[kVector<T>];
};

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
  LoadMatrices(to, tile + (column + lane % 8 + lane / 16 * 8) * stride + depth +
                       lane / 8 % 2 * kVector<T>);
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

// Right factors for a left one that was made of sums: LeftOfSums has its depth in another order for
// float32.
COSDT_DEVICE void LoadRightOfSums(uint32_t (&to)[4], const BFloat16* tile, int stride, int depth,
                                  int column) {
  LoadRight(to, tile, stride, depth, column);
}
COSDT_DEVICE void LoadRightOfSums(uint32_t (&to)[4], const float* tile, int stride, int depth,
                                  int column) {
  const int lane = ThreadIndex() % 32;
  const float* const from = tile + (depth + lane % 4 * 2) * stride + column + lane / 4;
  to[0] = ToBits(from[0]);
  to[1] = ToBits(from[stride]);
  to[2] = ToBits(from[8]);
  to[3] = ToBits(from[stride + 8]);
}

// Sums [16, 8 kStep / 8] as the left factor of the next product; `first` is the tile of sums with
// which it begins.
template <int kTiles>
COSDT_DEVICE void LeftOfSums(BFloat16, uint32_t (&to)[4], const float (&sums)[kTiles][4],
                             int first) {
  to[0] = PackBFloat16(sums[first][0], sums[first][1]);
  to[1] = PackBFloat16(sums[first][2], sums[first][3]);
  to[2] = PackBFloat16(sums[first + 1][0], sums[first + 1][1]);
  to[3] = PackBFloat16(sums[first + 1][2], sums[first + 1][3]);
}
template <int kTiles>
COSDT_DEVICE void LeftOfSums(float, uint32_t (&to)[4], const float (&sums)[kTiles][4], int first) {
  to[0] = ToBits(sums[first][0]);
  to[1] = ToBits(sums[first][2]);
  to[2] = ToBits(sums[first][1]);
  to[3] = ToBits(sums[first][3]);
}

// A right factor's two words times what stands beside their rows [depth, ..) in `factors`.
COSDT_DEVICE void ScaleRight(uint32_t (&to)[2], uint32_t word_0, uint32_t word_1,
                             const BFloat16* factors, int depth) {
  const int pair = depth + ThreadIndex() % 4 * 2;
  uint32_t low, high;
  __builtin_memcpy(&low, factors + pair, sizeof low);
  __builtin_memcpy(&high, factors + pair + 8, sizeof high);
  to[0] = MultiplyPairs(word_0, low);
  to[1] = MultiplyPairs(word_1, high);
}
COSDT_DEVICE void ScaleRight(uint32_t (&to)[2], uint32_t word_0, uint32_t word_1,
                             const float* factors, int depth) {
  const int row = depth + ThreadIndex() % 4;
  to[0] = ToBits(FromBits(word_0) * factors[row]);
  to[1] = ToBits(FromBits(word_1) * factors[row + 4]);
}

// sum += left right
COSDT_DEVICE void AddProduct(BFloat16, float (&sum)[4], const uint32_t (&left)[4], uint32_t right_0,
                             uint32_t right_1, bool) {
  MmaBFloat16(sum, left, right_0, right_1);
}
COSDT_DEVICE void AddProduct(float, float (&sum)[4], const uint32_t (&left)[4], uint32_t right_0,
                             uint32_t right_1, bool one_product) {
  uint32_t a[4];
  COSDT_UNROLL for (int i = 0; i < 4; ++i) a[i] = ToTf32(FromBits(left[i]));
  const uint32_t b_0 = ToTf32(FromBits(right_0)), b_1 = ToTf32(FromBits(right_1));
  if (!one_product) {
    uint32_t rest[4];
    COSDT_UNROLL for (int i = 0; i < 4; ++i) {
      rest[i] = ToTf32(FromBits(left[i]) - FromBits(a[i]));
    }
    MmaTf32(sum, rest, b_0, b_1);
    MmaTf32(sum, a, ToTf32(FromBits(right_0) - FromBits(b_0)),
            ToTf32(FromBits(right_1) - FromBits(b_1)));
  }
  MmaTf32(sum, a, b_0, b_1);
}

}  // namespace cosdt::attention::kernels::cuda
