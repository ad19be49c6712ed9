// A chunk's own part of the sum, up to the diagonal, and the output's rows.
#pragma once

#include "attention/cuda_causal_sum.cuh"

namespace cosdt::attention::kernels::cuda {

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
COSDT_DEVICE void CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::ComputeScores(
    int buffer, int set, float (&total)[2]) {
  const Tile<T, kWidth>&query = s.query[buffer], &key = s.key[buffer];
  const auto& phases = s.phases[set];
  const int row = WarpRow() + Lane() / 4;
  for (int first = ColumnWarp() * 32; first < kChunk; first += 32 * kColumnWarps) {
    if (first > WarpRow() + 15) return;
    float scores[4][4] = {};
    COSDT_UNROLL_BY(4) for (int depth = 0; depth < kWidth; depth += kStep<T>) {
      uint32_t left[4], right[4];
      LoadLeft(left, &query.x[0][0], query.kStride, WarpRow(), depth);
      COSDT_UNROLL for (int n = 0; n < 4; n += 2) {
        LoadRightTransposed(right, &key.x[0][0], key.kStride, first + n * 8, depth);
        AddProduct(Products{}, scores[n], left, right[0], right[1]);
        AddProduct(Products{}, scores[n + 1], left, right[2], right[3]);
      }
    }
    COSDT_UNROLL for (int half = 0; half < 2; ++half) {
      const float (&of_query)[2] = phases.query[row + 8 * half];
      COSDT_UNROLL for (int n = 0; n < 4; ++n) {
        COSDT_UNROLL for (int i = 0; i < 2; ++i) {
          const float (&of_key)[2] = phases.key[first + n * 8 + LaneColumn() + i];
          scores[n][2 * half + i] *= of_query[0] * of_key[0] + of_query[1] * of_key[1];
        }
      }
    }
    if (!kIsOutput && sum.extra != Extra::kNone) {
      COSDT_UNROLL for (int half = 0; half < 2; ++half) {
        const float (&of_query)[2] = phases.query_extra[row + 8 * half];
        COSDT_UNROLL for (int n = 0; n < 4; ++n) {
          COSDT_UNROLL for (int i = 0; i < 2; ++i) {
            const float (&of_key)[2] = phases.key_extra[first + n * 8 + LaneColumn() + i];
            scores[n][2 * half + i] += of_query[0] * of_key[0] + of_query[1] * of_key[1];
          }
        }
      }
    }
    COSDT_UNROLL for (int half = 0; half < 2; ++half) {
      const int x = row + 8 * half;
      COSDT_UNROLL for (int n = 0; n < 4; ++n) {
        const int y = first + n * 8 + LaneColumn();
        // chosen, not multiplied: a NaN beyond the diagonal stays there
        const float low = y <= x ? scores[n][2 * half] : 0;
        const float high = y < x ? scores[n][2 * half + 1] : 0;
        total[half] += low + high;
        StorePair(&s.scores.x[x][y], low, high);
      }
    }
  }
}

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
COSDT_DEVICE void CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::AddOwn(
    int buffer, float (&out)[kTiles][4]) {
  const Tile<T, kColumns>& value = s.value[buffer];
  COSDT_UNROLL_BY(4) for (int depth = 0; depth < kChunk; depth += kStep<T>) {
    if (depth > WarpRow() + 15) continue;
    uint32_t left[4], right[4];
    LoadLeft(left, &s.scores.x[0][0], s.scores.kStride, WarpRow(), depth);
    COSDT_UNROLL for (int n = 0; n < kTiles; n += 2) {
      LoadRight(right, &value.x[0][0], value.kStride, depth, WarpColumn() + n * 8);
      AddProduct(Products{}, out[n], left, right[0], right[1]);
      AddProduct(Products{}, out[n + 1], left, right[2], right[3]);
    }
  }
}

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
COSDT_DEVICE void CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::ShareTotals(
    float (&total)[2]) {
  COSDT_UNROLL for (int half = 0; half < 2; ++half) {
    total[half] += ShuffleXor(total[half], 1);
    total[half] += ShuffleXor(total[half], 2);
    if (Lane() % 4 == 0) s.totals[ColumnWarp()][WarpRow() + Lane() / 4 + 8 * half] = total[half];
  }
}

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
COSDT_DEVICE void CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::LoadSlopes(
    int chunk, Slopes& slopes) const {
  if (kIsOutput || sum.slope.features == Features::kIdentity) return;
  const Line line = LineOf(sum.slope);
  COSDT_UNROLL for (int half = 0; half < 2; ++half) {
    const int row = chunk * kChunk + WarpRow() + Lane() / 4 + half * 8;
    COSDT_UNROLL for (int pair = 0; pair < kTiles / 2; ++pair) {
      const int column = QuadColumn(pair);
      if (row >= pass.length || column >= sum.slope.width) continue;
      LoadQuad(line.At(row) + column, slopes.words[half][pair]);
    }
  }
}

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
COSDT_DEVICE void CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::Write(
    int chunk, int set, bool not_finite, float (&out)[kTiles][4], const Slopes& slopes) {
  if (COSDT_RARELY(not_finite)) {
    COSDT_UNROLL for (int n = 0; n < kTiles; ++n) {
      COSDT_UNROLL for (int i = 0; i < 4; ++i) {
        const int column = WarpColumn() + n * 8 + LaneColumn() + i % 2;
        if (WarpRow() + Lane() / 4 + i / 2 * 8 >= s.phases[set].not_finite[column]) {
          out[n][i] = FromBits(0x7fc00000);
        }
      }
    }
  }
  const Line line = LineOf(sum.out);
  COSDT_UNROLL for (int half = 0; half < 2; ++half) {
    const int place = WarpRow() + Lane() / 4 + half * 8, row = chunk * kChunk + place;
    float factor = 1;
    if (kIsOutput && pass.normalize) {
      float total = s.totals[0][place];
      if constexpr (kColumnWarps == 2) total += s.totals[1][place];
      factor = Reciprocal(total, pass.eps);
      if (row < pass.length && first_column + WarpColumn() == 0 && Lane() % 4 == 0) {
        pass.normalizer[static_cast<ptrdiff_t>(head) * pass.length + TokenOf(row)] = total;
      }
    }
    const bool zero = !kIsOutput && sum.out.masked && row < pass.length && !mask[TokenOf(row)];
    COSDT_UNROLL for (int pair = 0; pair < kTiles / 2; ++pair) {
      const float* const low = &out[2 * pair][2 * half];
      const float* const high = &out[2 * pair + 1][2 * half];
      const bool odd = Lane() % 2 == 1;
      const float first = ShuffleXor(odd ? low[0] : high[0], 1);
      const float second = ShuffleXor(odd ? low[1] : high[1], 1);
      float quad[4] = {odd ? first : low[0], odd ? second : low[1], odd ? high[0] : first,
                       odd ? high[1] : second};
      const int column = QuadColumn(pair);
      if (row >= pass.length || column >= sum.out.width) continue;
      if (!kIsOutput && sum.slope.features == Features::kEluPlusOne) {
        COSDT_UNROLL for (int i = 0; i < 4; ++i) {
          quad[i] *= Slope<true>(SlopeValue(slopes.words[half][pair], i));
        }
      } else if (!kIsOutput && sum.slope.features == Features::kRelu) {
        COSDT_UNROLL for (int i = 0; i < 4; ++i) {
          quad[i] *= Slope<false>(SlopeValue(slopes.words[half][pair], i));
        }
      }
      COSDT_UNROLL for (int i = 0; i < 4; ++i) quad[i] = zero ? 0 : quad[i] * factor;
      StoreQuad(line.At(row) + column, quad);
    }
  }
}

}  // namespace cosdt::attention::kernels::cuda
