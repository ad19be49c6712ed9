// The state: the contribution of earlier chunks to a chunk, in registers between chunks, in shared
// memory for products, and in global memory between segments.
#pragma once

#include "attention/cuda_causal_sum.cuh"

namespace cosdt::attention::kernels::cuda {

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
COSDT_DEVICE void CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::LoadLines(
    uint32_t (&to)[2], const T (&from)[kLines][kChunk], int depth) const {
  constexpr int kWord = 4 / static_cast<int>(sizeof(T));  // values of a word
  to[0] = to[1] = 0;
  if (Lane() / 4 >= kLines) return;
  const T* const place = &from[Lane() / 4][depth + Lane() % 4 * kWord];
  to[0] = LoadWord(place);
  to[1] = LoadWord(place + 4 * kWord);
}

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
COSDT_DEVICE void CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::AddChunk(
    int buffer, int set, bool not_finite) {
  if (WarpRow() >= kWidth) return;  // a state of 32 rows has two warps without work
  const Tile<T, kWidth>& key = s.key[buffer];
  const Tile<T, kColumns>& value = s.value[buffer];
  const auto& phases = s.phases[set];
  COSDT_UNROLL_BY(4) for (int depth = 0; depth < kChunk; depth += kStep<T>) {
    uint32_t left[kStateTiles][4], right[kTiles / 2][4];
    COSDT_UNROLL for (int tile = 0; tile < kStateTiles; ++tile) {
      LoadLeftTransposed(left[tile], &key.x[0][0], key.kStride, tile * kChunk + WarpRow(), depth);
    }
    COSDT_UNROLL for (int n = 0; n < kTiles; n += 2) {
      LoadRight(right[n / 2], &value.x[0][0], value.kStride, depth, WarpColumn() + n * 8);
    }
    if (HasLines() && ColumnWarp() == 0) {
      uint32_t words[2];
      LoadLines(words, phases.lines, depth);
      if (kIsOutput) {
        COSDT_UNROLL for (int tile = 0; tile < kStateTiles; ++tile) {
          AddProduct(LineProducts{}, lines[tile], left[tile], words[0], words[1]);
        }
      } else {
        uint32_t columns[4];
        LoadLeftTransposed(columns, &value.x[0][0], value.kStride, WarpRow(), depth);
        AddProduct(LineProducts{}, lines[0], columns, words[0], words[1]);
      }
    }
    COSDT_UNROLL for (int part = 0; part < 2; ++part) {
      if (part >= Parts()) continue;
      COSDT_UNROLL for (int tile = 0; tile < kStateTiles; ++tile) {
        uint32_t scaled[4];
        ScaleLeft(scaled, left[tile], phases.rounded[part], depth);
        COSDT_UNROLL for (int n = 0; n < kTiles; ++n) {
          AddProduct(Products{}, sums[part][tile][n], scaled, right[n / 2][n % 2 * 2],
                     right[n / 2][n % 2 * 2 + 1]);
        }
      }
    }
  }
  if (!COSDT_RARELY(not_finite)) return;
  COSDT_UNROLL for (int n = 0; n < kTiles; ++n) {
    COSDT_UNROLL for (int i = 0; i < 4; ++i) {
      if (phases.not_finite[WarpColumn() + n * 8 + LaneColumn() + i % 2] == kChunk) continue;
      COSDT_UNROLL for (int tile = 0; tile < kStateTiles; ++tile) {
        sums[0][tile][n][i] = FromBits(0x7fc00000);
      }
    }
  }
}

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
COSDT_DEVICE void CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::StoreState() {
  if (WarpRow() >= kWidth) return;
  COSDT_UNROLL for (int part = 0; part < 2; ++part) {
    if (part >= Parts()) continue;
    COSDT_UNROLL for (int tile = 0; tile < kStateTiles; ++tile) {
      const int row = tile * kChunk + WarpRow() + Lane() / 4;
      COSDT_UNROLL for (int n = 0; n < kTiles; ++n) {
        const int column = WarpColumn() + n * 8 + LaneColumn();
        StorePair(&state.x[part][row][column], sums[part][tile][n][0], sums[part][tile][n][1]);
        StorePair(&state.x[part][row + 8][column], sums[part][tile][n][2], sums[part][tile][n][3]);
      }
    }
  }
  if (HasLines() && ColumnWarp() == 0) StoreLines();
}

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
COSDT_DEVICE void CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::StoreLines() {
  COSDT_UNROLL for (int tile = 0; tile < kStateTiles; ++tile) {
    COSDT_UNROLL for (int half = 0; half < 2; ++half) {
      float total[2];
      COSDT_UNROLL for (int part = 0; part < 2; ++part) {
        total[part] = lines[tile][2 * half + part];
        total[part] += ShuffleXor(total[part], 1);
      }
      const int row = tile * kChunk + WarpRow() + Lane() / 4 + 8 * half;
      if (Lane() % 4 >= 2) continue;
      if (kIsOutput) {
        COSDT_UNROLL for (float& x : total) {
          T rounded;
          Round(x, rounded);
          if (Lane() % 4 == 1) x -= ToFloat(rounded);
        }
        StorePair(state.keys[row] + LaneColumn(), total[0], total[1]);
      } else if (tile == 0 && Lane() % 4 == 0) {
        state.extras[0][row] = total[0];
        state.extras[1][row] = total[1];
      }
    }
  }
}

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
template <class Visit>
COSDT_DEVICE void CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::ForState(
    int of_segment, const Visit& visit) {
  float* place = states + static_cast<ptrdiff_t>(of_segment) * kStateValues * kThreads + Thread();
  const auto next = [&](float& own) {
    visit(own, place);
    place += kThreads;
  };
  COSDT_UNROLL for (int part = 0; part < 2; ++part) {
    COSDT_UNROLL for (int tile = 0; tile < kStateTiles; ++tile) {
      COSDT_UNROLL for (int n = 0; n < kTiles; ++n) {
        COSDT_UNROLL for (int i = 0; i < 4; ++i) next(sums[part][tile][n][i]);
      }
    }
  }
  COSDT_UNROLL for (int tile = 0; tile < kStateTiles; ++tile) {
    COSDT_UNROLL for (int i = 0; i < 4; ++i) next(lines[tile][i]);
  }
}

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
COSDT_DEVICE void CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::BeginState() {
  ForState(0, [](float& own, const float*) { own = 0; });
  if (kTask == Task::kStates || segment == 0) return;
  const bool is_scanned = pass.segments > kMaxUnscanned;
  const int end = is_scanned ? segment + 1 : segment;
  COSDT_NO_UNROLL for (int i = is_scanned ? segment : 0; i < end; ++i) {
    ForState(i, [](float& own, const float* stored) { own += *stored; });
  }
  StoreState();
}

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
COSDT_DEVICE void CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::AddEarlier(
    int buffer, int set, float (&out)[kTiles][4], float (&total)[2]) {
  const Tile<T, kWidth>& query = s.query[buffer];
  const auto& phases = s.phases[set];
  const int row = WarpRow() + Lane() / 4;
  const bool has_total = kIsOutput && pass.normalize && ColumnWarp() == 0;
  float keys[4] = {};
  COSDT_UNROLL for (int part = 0; part < 2; ++part) {
    if (part >= Parts()) continue;
    float x[kTiles][4] = {};
    COSDT_UNROLL_BY((kIsOutput ? 4 : 2)) for (int depth = 0; depth < kWidth; depth += kStep<T>) {
      uint32_t left[4], right[4];
      LoadLeft(left, &query.x[0][0], query.kStride, WarpRow(), depth);
      COSDT_UNROLL for (int n = 0; n < kTiles; n += 2) {
        LoadRight(right, &state.x[part][0][0], kColumns + kVector<T>, depth, WarpColumn() + n * 8);
        AddProduct(Products{}, x[n], left, right[0], right[1]);
        AddProduct(Products{}, x[n + 1], left, right[2], right[3]);
      }
      if (part == 0 && has_total) {
        LoadKeys(right, depth);
        AddProduct(LineProducts{}, keys, left, right[0], right[1]);
      }
    }
    COSDT_UNROLL for (int half = 0; half < 2; ++half) {
      const float phase = phases.query[row + 8 * half][part];
      COSDT_UNROLL for (int n = 0; n < kTiles; ++n) {
        COSDT_UNROLL for (int i = 0; i < 2; ++i) {
          out[n][2 * half + i] += phase * x[n][2 * half + i];
        }
      }
    }
  }
  COSDT_UNROLL for (int half = 0; half < 2; ++half) {
    if (has_total && Lane() % 4 < 2) {
      total[half] += phases.query[row + 8 * half][0] * keys[2 * half] +
                     phases.query[row + 8 * half][1] * keys[2 * half + 1];
    }
    if (kIsOutput || sum.extra == Extra::kNone) continue;
    const float (&extra)[2] = phases.query_extra[row + 8 * half];
    COSDT_UNROLL for (int n = 0; n < kTiles; ++n) {
      const int column = WarpColumn() + n * 8 + LaneColumn();
      COSDT_UNROLL for (int i = 0; i < 2; ++i) {
        out[n][2 * half + i] +=
            extra[0] * state.extras[0][column + i] + extra[1] * state.extras[1][column + i];
      }
    }
  }
}

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
COSDT_DEVICE void CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::LoadKeys(
    uint32_t (&to)[4], int depth) const {
  if constexpr (sizeof(T) == 2) {
    LoadTransposedMatrices(to, state.keys[depth + Lane() % 16]);
  } else {
    to[0] = ToBits(state.keys[depth + Lane() % 4][Lane() / 4]);
    to[1] = ToBits(state.keys[depth + 4 + Lane() % 4][Lane() / 4]);
  }
}

}  // namespace cosdt::attention::kernels::cuda
