// A chunk's rows on their way to shared memory: copies, the feature map, padding, values that are
// not finite, and the phases of the weights.
#pragma once

#include "attention/cuda_causal_sum.cuh"

namespace cosdt::attention::kernels::cuda {

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
template <int kTileColumns>
COSDT_DEVICE uint32_t CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::Copy(
    Tile<T, kTileColumns>& to, const Rows& rows, int from_column, int chunk) {
  const int column = CopyColumn<kTileColumns>(), of_row = from_column + column;
  const bool has_column = of_row < rows.width;
  Line line = LineOf(rows);
  if (has_column) line.first += of_row * static_cast<int>(sizeof(T));
  uint32_t real = 0;
  COSDT_UNROLL for (int i = 0; i < kCopies<kTileColumns>; ++i) {
    const int place = CopyRow<kTileColumns>(i), row = chunk * kChunk + place;
    const bool exists = has_column && row < pass.length;
    CopyAsync(&to.x[place][column], line.At(exists ? row : 0), exists);
    real |= static_cast<uint32_t>(exists) << i;
  }
  if (!rows.masked) return real;
  COSDT_UNROLL for (int i = 0; i < kCopies<kTileColumns>; ++i) {
    const int row = chunk * kChunk + CopyRow<kTileColumns>(i);
    if (row < pass.length && !mask[TokenOf(row)]) real &= ~(1u << i);
  }
  return real;
}

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
template <int kTileColumns>
COSDT_DEVICE void CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::Map(
    Tile<T, kTileColumns>& tile, const Rows& rows, uint32_t real) {
  if (rows.features == Features::kEluPlusOne) {
    MapEach(tile, real, [](float x) { return Feature<true>(x); });
  } else if (rows.features == Features::kRelu) {
    MapEach(tile, real, [](float x) { return Feature<false>(x); });
  } else if (rows.masked) {
    MapEach(tile, real, [](float x) { return x; });
  }
}

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
template <int kTileColumns, class Function>
COSDT_DEVICE void CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::MapEach(
    Tile<T, kTileColumns>& tile, uint32_t real, const Function& function) {
  COSDT_UNROLL for (int i = 0; i < kCopies<kTileColumns>; ++i) {
    T* const place = &tile.x[CopyRow<kTileColumns>(i)][CopyColumn<kTileColumns>()];
    Vector vector = LoadVector(place);
    const uint32_t kept = 0 - (real >> i & 1);  // all bits or none: no branch for each word
    COSDT_UNROLL for (uint32_t& word : vector.words) { word = MapWord(T{}, word, function) & kept; }
    StoreVector(place, vector);
  }
}

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
COSDT_DEVICE bool CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::TakeNotFinite(
    Tile<T, kColumns>& tile, int (&first)[kColumns]) {
  bool found = false;
  COSDT_UNROLL for (int i = 0; i < kCopies<kColumns>; ++i) {
    const int row = CopyRow<kColumns>(i), column = CopyColumn<kColumns>();
    if (!COSDT_RARELY(!AllFinite(LoadVector(&tile.x[row][column])))) continue;
    found = true;
    COSDT_NO_UNROLL for (int j = 0; j < kVector<T>; ++j) {
      const float x = ToFloat(tile.x[row][column + j]);
      if (x - x == 0) continue;
      tile.x[row][column + j] = T{};
      AtomicMin(&first[column + j], row);
    }
  }
  return found;
}

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
COSDT_DEVICE bool CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::AllFinite(
    const Vector& vector) {
  uint32_t carry = 0;
  // an exponent of ones carries into the sign
  constexpr uint32_t kExponents = sizeof(T) == 2 ? 0x7f807f80u : 0x7f800000u;
  constexpr uint32_t kOnes = sizeof(T) == 2 ? 0x00800080u : 0x00800000u;
  COSDT_UNROLL for (const uint32_t word : vector.words) carry |= (word & kExponents) + kOnes;
  return (carry & (sizeof(T) == 2 ? 0x80008000u : 0x80000000u)) == 0;
}

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
COSDT_DEVICE uint32_t
CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::BeginChunk(int chunk, int buffer) {
  static_assert(kCopies<kWidth> <= 8 && kCopies<kColumns> <= 8);
  const uint32_t query = kTask == Task::kStates ? 0 : Copy(s.query[buffer], sum.query, 0, chunk);
  const uint32_t key = Copy(s.key[buffer], sum.key, 0, chunk);
  const uint32_t value = Copy(s.value[buffer], sum.value, first_column, chunk);
  return query | key << 8 | value << 16;
}

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
COSDT_DEVICE void CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::WritePhases(
    int chunk, int set, const RowSums& sums_of_row) {
  auto& to = s.phases[set];
  if (Thread() < kColumns) to.not_finite[Thread()] = kChunk;
  if (!WritesPhases()) return;
  const int place = PhaseRow();
  float phase[2] = {1, 0};
  if (pass.half_turns > 0) {
    CosSin(static_cast<float>(chunk * kChunk + place) * pass.half_turns, &phase[0], &phase[1]);
  }
  const float r = !kIsOutput && pass.deltas ? Reciprocal(sums_of_row.normalizer, pass.eps) : 1;
  const float of_query = !kIsOutput && sum.scales_query ? r : 1;
  const float of_key = !kIsOutput && sum.scales_key ? r : 1;
  const float extra_of_query = sum.extra == Extra::kOfQuery ? sums_of_row.delta : 1;
  const float extra_of_key = sum.extra == Extra::kOfKey ? sums_of_row.delta : 1;
  COSDT_UNROLL for (int part = 0; part < 2; ++part) {
    to.query[place][part] = phase[part] * of_query;
    to.key[place][part] = phase[part] * of_key;
    if constexpr (!kIsOutput) {
      to.query_extra[place][part] = phase[part] * extra_of_query;
      to.key_extra[place][part] = phase[part] * extra_of_key;
    }
    Round(phase[part] * of_key, to.rounded[part][place]);
    const float line = phase[part] * (kIsOutput ? 1 : extra_of_key);
    Round(line, to.lines[part][place]);
    if constexpr (kLines == 4) {
      Round(line - ToFloat(to.lines[part][place]), to.lines[2 + part][place]);
    }
  }
}

}  // namespace cosdt::attention::kernels::cuda
