// What the CUDA kernels are made of: rows of arrays in and out of shared memory, and the three
// products of tiles. A block is kThreads threads; every function here is the part of one of them
// (`t`) between two barriers. The same templates compile for the host, where a test runs a block's
// threads one after the other.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "attention/linear_kernels.h"

#ifdef __CUDACC__
#define COSDT_DEVICE __device__ __forceinline__
#define COSDT_UNROLL _Pragma("unroll")
#define COSDT_UNROLL_4 _Pragma("unroll 4")
#else
#define COSDT_DEVICE inline
#define COSDT_UNROLL
#define COSDT_UNROLL_4
#endif

namespace cosdt::attention::kernels::cuda {

constexpr int kThreads = 128;
constexpr int kRows = 32;  // of a tile
// A thread computes 4 rows and every 16th column, or group of 4 columns, of a product.
constexpr int kLanes = 16;
constexpr int kThreadRows = 4;
static_assert(kThreads / kLanes * kThreadRows == kRows);

// Strides in shared memory that let neighbouring threads read rows without bank conflicts.
constexpr int kWeightStride = kRows + 4;
template <int kWidth>
constexpr int kRowStride = kWidth + 4;

struct alignas(16) Vector4 {
  float x[4];
};
struct alignas(8) HalfVector4 {
  uint16_t x[4];
};

COSDT_DEVICE int Min(int a, int b) { return a < b ? a : b; }
COSDT_DEVICE int Max(int a, int b) { return a > b ? a : b; }

COSDT_DEVICE float FromBFloat16(uint16_t x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float number;
  __builtin_memcpy(&number, &bits, sizeof number);
  return number;
}

// Rounds to nearest, ties to even.
COSDT_DEVICE uint16_t ToBFloat16(float number) {
  if (number != number) return 0x7fc0;
  uint32_t bits;
  __builtin_memcpy(&bits, &number, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// cos and sin of pi `half_turns`
COSDT_DEVICE void CosSin(float half_turns, float* cosine, float* sine) {
#ifdef __CUDA_ARCH__
  sincospif(half_turns, sine, cosine);
#else
  constexpr double kPi = 3.14159265358979323846;
  *cosine = static_cast<float>(std::cos(kPi * static_cast<double>(half_turns)));
  *sine = static_cast<float>(std::sin(kPi * static_cast<double>(half_turns)));
#endif
}

// phi; a NaN stays one.
COSDT_DEVICE float Feature(Features features, float x) {
  if (features == Features::kRelu) return x < 0 ? 0 : x;
  if (features == Features::kEluPlusOne) return x > 0 ? x + 1 : expf(x);
  return x;
}

// phi'
COSDT_DEVICE float Slope(Features features, float x) {
  if (features == Features::kRelu) return x > 0 ? 1 : 0;
  if (features == Features::kEluPlusOne) return x > 0 ? 1 : expf(x);
  return 1;
}

// An array [batch, heads, length, width] and what becomes of its rows when they are loaded.
struct Rows {
  Array array;
  bool bfloat16 = false;  // or float32
  bool aligned = false;   // any 4 numbers from a column 4 n on can be read at once
  Features features = Features::kIdentity;  // applied to every number
  bool masked = false;                      // zeros at padding
  bool scaled = false;                      // times 1 / max(D, eps)
};

// One sum over earlier rows, which every output of both passes is:
//   out_x = sum_{y <= x} w_xy (query_x . key_y + extra_xy) value_y,   w_xy = cos(pi/2 (x - y) / M)
//   output:        query = phi(q)   key = phi(k)   value = v        (then divided by D)
//   gradient of q: query = g^       key = v        value = phi(k)   extra = d_x
//   gradient of k: query = v        key = g^       value = phi(q)   extra = d_y   reversed in time
//   gradient of v: query = phi(k)   key = phi(q)   value = g^                     reversed in time
// with g^ = g / max(D, eps) and d of attention/README.md, equation (4).
enum class Extra { kNone, kOfQuery, kOfKey };

struct CausalSum {
  Rows query, key, value;
  Extra extra = Extra::kNone;
  bool reversed = false;   // rows count from the last token
  bool is_output = false;  // sums up D too, writes it and divides by it
  Rows slope{};            // gradients are multiplied by phi' of these rows
  Rows out{};              // `masked` ones are zero at padding
};

// What all sums of a pass have in common.
struct Shape {
  int heads = 1, length = 1, rows = 1;  // rows: batch x heads x length
  double half_turns = 0;                // of the phase from one token to the next: 1 / 2M
  const bool* mask = nullptr;
  bool normalize = true;
  float eps = 0;
  float* normalizer = nullptr;    // D [rows]
  const float* deltas = nullptr;  // d [rows], which only gradients read
};

// What the loops need to know of a tile's rows. Rows of all heads stand in one line, so that a tile
// can hold the end of one head and the beginning of the next.
struct RowTable {
  int batch[kRows], head[kRows];
  int token[kRows];  // -1 where there is no row
  int first[kRows];  // the row in the line at which the head begins
  int real[kRows];   // not padding
  float cosine[kRows], sine[kRows], factor[kRows], delta[kRows];
};

COSDT_DEVICE float Reciprocal(const Shape& shape, float sum) {
  return 1 / (sum < shape.eps ? shape.eps : sum);
}

// Fills in the rows [begin, begin + kRows) of the line, of which those from `end` on are missing.
COSDT_DEVICE void IndexRows(int t, const Shape& shape, bool reversed, int begin, int end,
                            RowTable& table) {
  if (t >= kRows) return;
  const int row = begin + t;
  const bool exists = row < end;
  const int item = exists ? row / shape.length : 0, position = exists ? row % shape.length : 0;
  const int token = reversed ? shape.length - 1 - position : position;
  const int batch = item / shape.heads;
  table.batch[t] = batch;
  table.head[t] = item % shape.heads;
  table.token[t] = exists ? token : -1;
  table.first[t] = item * shape.length;
  const ptrdiff_t entry = static_cast<ptrdiff_t>(batch) * shape.length + token;
  table.real[t] = exists && (!shape.mask || shape.mask[entry]);
  table.cosine[t] = 1;
  table.sine[t] = 0;
  if (shape.half_turns > 0) {
    CosSin(static_cast<float>(position * shape.half_turns), &table.cosine[t], &table.sine[t]);
  }
  table.factor[t] = 1;
  table.delta[t] = 0;
  if (exists && shape.deltas) {
    const int number = item * shape.length + token;
    table.factor[t] = Reciprocal(shape, shape.normalizer[number]);
    table.delta[t] = shape.deltas[number];
  }
}

COSDT_DEVICE ptrdiff_t Offset(const Array& array, const RowTable& table, int row) {
  return table.batch[row] * array.batch + table.head[row] * array.head +
         table.token[row] * array.token;
}

// Four numbers of an array, from column `column`.
COSDT_DEVICE Vector4 Load4(const Rows& rows, ptrdiff_t offset, int column) {
  Vector4 to;
  if (rows.bfloat16) {
    const auto* const from = static_cast<const uint16_t*>(rows.array.data) + offset + column;
    HalfVector4 bits;
    if (rows.aligned) {
      bits = *reinterpret_cast<const HalfVector4*>(from);
    } else {
      COSDT_UNROLL for (int i = 0; i < 4; ++i) bits.x[i] = from[i];
    }
    COSDT_UNROLL for (int i = 0; i < 4; ++i) to.x[i] = FromBFloat16(bits.x[i]);
  } else {
    const auto* const from = static_cast<const float*>(rows.array.data) + offset + column;
    if (rows.aligned) return *reinterpret_cast<const Vector4*>(from);
    COSDT_UNROLL for (int i = 0; i < 4; ++i) to.x[i] = from[i];
  }
  return to;
}

COSDT_DEVICE float Load(const Rows& rows, ptrdiff_t offset) {
  if (rows.bfloat16) return FromBFloat16(static_cast<const uint16_t*>(rows.array.data)[offset]);
  return static_cast<const float*>(rows.array.data)[offset];
}

COSDT_DEVICE void Store(const Rows& rows, ptrdiff_t offset, float number) {
  if (rows.bfloat16) {
    static_cast<uint16_t*>(rows.array.data)[offset] = ToBFloat16(number);
  } else {
    static_cast<float*>(rows.array.data)[offset] = number;
  }
}

// A tile's columns [first_column, first_column + kColumns) to shared memory; zeros where there is
// no row.
template <int kColumns, int kStride>
COSDT_DEVICE void LoadTile(int t, const Rows& rows, const RowTable& table, int first_column,
                           float* to) {
  constexpr int kVectors = kColumns / 4;
  COSDT_UNROLL for (int i = 0; i < kRows * kVectors / kThreads; ++i) {
    const int row = (t + i * kThreads) / kVectors, column = (t + i * kThreads) % kVectors * 4;
    Vector4 numbers{};
    if (table.token[row] >= 0 && (table.real[row] || !rows.masked)) {
      numbers = Load4(rows, Offset(rows.array, table, row), first_column + column);
      const float factor = rows.scaled ? table.factor[row] : 1;
      COSDT_UNROLL for (int p = 0; p < 4; ++p) {
        numbers.x[p] = factor * Feature(rows.features, numbers.x[p]);
      }
    }
    *reinterpret_cast<Vector4*>(to + row * kStride + column) = numbers;
  }
}

// n numbers of shared memory; a multiple of 4 comes as vectors.
template <int n>
COSDT_DEVICE void Read(const float* from, float (&to)[n]) {
  if constexpr (n % 4 == 0) {
    COSDT_UNROLL for (int i = 0; i < n; i += 4) {
      const Vector4 four = *reinterpret_cast<const Vector4*>(from + i);
      COSDT_UNROLL for (int p = 0; p < 4; ++p) to[i + p] = four.x[p];
    }
  } else {
    COSDT_UNROLL for (int i = 0; i < n; ++i) to[i] = from[i];
  }
}

// A thread's columns among kColumns.
template <int kColumns>
struct Columns {
  static constexpr int kCount = kColumns / kLanes;
  static constexpr int kGroup = kCount < 4 ? kCount : 4;  // neighbours

  static COSDT_DEVICE int Of(int t, int i) {
    return i / kGroup * kGroup * kLanes + t % kLanes * kGroup + i % kGroup;
  }
  static COSDT_DEVICE void ReadRow(int t, const float* row, float (&to)[kCount]) {
    COSDT_UNROLL for (int i = 0; i < kCount; i += kGroup) {
      float group[kGroup];
      Read(row + Of(t, i), group);
      COSDT_UNROLL for (int p = 0; p < kGroup; ++p) to[i + p] = group[p];
    }
  }
};

// A thread's part of a product with kColumns columns.
template <int kColumns>
struct Accumulator {
  float sum[kThreadRows][Columns<kColumns>::kCount];

  COSDT_DEVICE void Clear() {
    COSDT_UNROLL for (int r = 0; r < kThreadRows; ++r) {
      COSDT_UNROLL for (auto& number : sum[r]) number = 0;
    }
  }
};

COSDT_DEVICE int FirstRow(int t) { return t / kLanes * kThreadRows; }

// Rows y of a tile that the row x of another one sees: those from its head's first to x itself.
struct Seen {
  int begin, end;
};

COSDT_DEVICE Seen SeenBy(const RowTable& queries, int query_begin, int key_begin, int row) {
  if (queries.token[row] < 0) return {0, 0};
  return {Max(queries.first[row] - key_begin, 0), Min(query_begin + row + 1 - key_begin, kRows)};
}

// Entry [y][x] of `weights` becomes w_xy (query_x . key_y + extra_xy), 0 where x does not see y.
template <int kWidth>
COSDT_DEVICE void ComputeWeights(int t, const float* query, const float* key, Extra extra,
                                 const RowTable& queries, int query_begin, const RowTable& keys,
                                 int key_begin, float* weights) {
  constexpr int kStride = kRowStride<kWidth>;
  constexpr int kCount = kRows / kLanes;
  const int row = FirstRow(t);
  float dot[kThreadRows][kCount] = {};
  COSDT_UNROLL_4 for (int p = 0; p < kWidth; p += 4) {
    float a[kThreadRows][4], b[kCount][4];
    COSDT_UNROLL for (int r = 0; r < kThreadRows; ++r) Read(query + (row + r) * kStride + p, a[r]);
    COSDT_UNROLL for (int c = 0; c < kCount; ++c) {
      Read(key + (t % kLanes + c * kLanes) * kStride + p, b[c]);
    }
    COSDT_UNROLL for (int q = 0; q < 4; ++q) {
      COSDT_UNROLL for (int r = 0; r < kThreadRows; ++r) {
        COSDT_UNROLL for (int c = 0; c < kCount; ++c) dot[r][c] += a[r][q] * b[c][q];
      }
    }
  }
  COSDT_UNROLL for (int c = 0; c < kCount; ++c) {
    const int y = t % kLanes + c * kLanes;
    Vector4 column;
    COSDT_UNROLL for (int r = 0; r < kThreadRows; ++r) {
      const int x = row + r;
      const Seen seen = SeenBy(queries, query_begin, key_begin, x);
      float score = dot[r][c];
      if (extra == Extra::kOfQuery) score += queries.delta[x];
      if (extra == Extra::kOfKey) score += keys.delta[y];
      const float weight = queries.cosine[x] * keys.cosine[y] + queries.sine[x] * keys.sine[y];
      // chosen, not multiplied: a NaN beyond the diagonal stays there
      column.x[r] = y >= seen.begin && y < seen.end ? weight * score : 0;
    }
    *reinterpret_cast<Vector4*>(weights + y * kWeightStride + row) = column;
  }
}

// sum += weights value, over the rows that each row sees. Where the thread's rows see different
// ones each row is asked: a NaN is not even multiplied by 0.
template <int kColumns>
COSDT_DEVICE void AddWeighted(int t, const float* weights, const float* value,
                              const RowTable& queries, int query_begin, int key_begin,
                              Accumulator<kColumns>& accumulator) {
  const int row = FirstRow(t);
  int begin[kThreadRows], end[kThreadRows];
  int some_begin = kRows, some_end = 0, all_begin = 0, all_end = kRows;
  COSDT_UNROLL for (int r = 0; r < kThreadRows; ++r) {
    const Seen seen = SeenBy(queries, query_begin, key_begin, row + r);
    begin[r] = seen.begin;
    end[r] = seen.end;
    some_begin = Min(some_begin, seen.begin);
    some_end = Max(some_end, seen.end);
    all_begin = Max(all_begin, seen.begin);
    all_end = Min(all_end, seen.end);
  }
  for (int y = some_begin; y < some_end; ++y) {
    float w[kThreadRows], v[Columns<kColumns>::kCount];
    Read(weights + y * kWeightStride + row, w);
    Columns<kColumns>::ReadRow(t, value + y * kColumns, v);
    if (y >= all_begin && y < all_end) {
      COSDT_UNROLL for (int r = 0; r < kThreadRows; ++r) {
        COSDT_UNROLL for (int i = 0; i < Columns<kColumns>::kCount; ++i) {
          accumulator.sum[r][i] += w[r] * v[i];
        }
      }
      continue;
    }
    COSDT_UNROLL for (int r = 0; r < kThreadRows; ++r) {
      if (y < begin[r] || y >= end[r]) continue;
      COSDT_UNROLL for (int i = 0; i < Columns<kColumns>::kCount; ++i) {
        accumulator.sum[r][i] += w[r] * v[i];
      }
    }
  }
}

// The sums of all rows before a tile, one set for each phase: of key^T value, of extra value where
// there is one, and of key for the normaliser. kParts is 2 with M and 1 without.
template <int kWidth, int kColumns, int kParts>
struct State {
  static constexpr int kProducts = kWidth * kColumns;  // of one part
  static constexpr int kExtras = kParts * kProducts;   // where the others begin
  static constexpr int kKeys = kExtras + kParts * kColumns;
  static constexpr int kSize = kKeys + kParts * kWidth;
};

COSDT_DEVICE float Phase(const RowTable& table, int part, int row) {
  return part == 0 ? table.cosine[row] : table.sine[row];
}

// sum += query state, with both phases.
template <int kWidth, int kColumns, int kParts>
COSDT_DEVICE void AddEarlier(int t, const float* query, const float* state, Extra extra,
                             const RowTable& queries, Accumulator<kColumns>& accumulator) {
  using S = State<kWidth, kColumns, kParts>;
  constexpr int kCount = Columns<kColumns>::kCount;
  const int row = FirstRow(t);
  Accumulator<kColumns> parts[kParts];
  COSDT_UNROLL for (auto& part : parts) part.Clear();
  COSDT_UNROLL_4 for (int p = 0; p < kWidth; p += 4) {
    float a[kThreadRows][4];
    COSDT_UNROLL for (int r = 0; r < kThreadRows; ++r) {
      Read(query + (row + r) * kRowStride<kWidth> + p, a[r]);
    }
    COSDT_UNROLL for (int part = 0; part < kParts; ++part) {
      COSDT_UNROLL for (int q = 0; q < 4; ++q) {
        float s[kCount];
        Columns<kColumns>::ReadRow(t, state + part * S::kProducts + (p + q) * kColumns, s);
        COSDT_UNROLL for (int r = 0; r < kThreadRows; ++r) {
          COSDT_UNROLL for (int i = 0; i < kCount; ++i) parts[part].sum[r][i] += a[r][q] * s[i];
        }
      }
    }
  }
  COSDT_UNROLL for (int part = 0; part < kParts; ++part) {
    float extras[kCount] = {};
    if (extra != Extra::kNone) {
      Columns<kColumns>::ReadRow(t, state + S::kExtras + part * kColumns, extras);
    }
    COSDT_UNROLL for (int r = 0; r < kThreadRows; ++r) {
      const float phase = Phase(queries, part, row + r);
      const float factor = extra == Extra::kOfQuery ? queries.delta[row + r] : 1;
      COSDT_UNROLL for (int i = 0; i < kCount; ++i) {
        accumulator.sum[r][i] += phase * (parts[part].sum[r][i] + factor * extras[i]);
      }
    }
  }
}

// Adds a tile's rows to the state.
template <int kWidth, int kColumns, int kParts>
COSDT_DEVICE void AddToState(int t, const CausalSum& causal_sum, const float* key,
                             const float* value, const RowTable& keys, float* state) {
  using S = State<kWidth, kColumns, kParts>;
  constexpr int kCount = Columns<kColumns>::kCount;
  constexpr int kSome = kWidth / 8 < 8 ? kWidth / 8 : 8;  // of key's columns at a time
  for (int first = t / kLanes * kSome; first < kWidth; first += kSome * (kThreads / kLanes)) {
    float sum[kParts][kSome][kCount] = {};
    COSDT_UNROLL_4 for (int y = 0; y < kRows; ++y) {
      float k[kSome], v[kCount];
      Read(key + y * kRowStride<kWidth> + first, k);
      Columns<kColumns>::ReadRow(t, value + y * kColumns, v);
      COSDT_UNROLL for (int part = 0; part < kParts; ++part) {
        COSDT_UNROLL for (int i = 0; i < kCount; ++i) {
          const float turned = Phase(keys, part, y) * v[i];
          COSDT_UNROLL for (int p = 0; p < kSome; ++p) sum[part][p][i] += k[p] * turned;
        }
      }
    }
    COSDT_UNROLL for (int part = 0; part < kParts; ++part) {
      COSDT_UNROLL for (int p = 0; p < kSome; ++p) {
        float* const to = state + part * S::kProducts + (first + p) * kColumns;
        COSDT_UNROLL for (int i = 0; i < kCount; ++i) to[Columns<kColumns>::Of(t, i)] +=
            sum[part][p][i];
      }
    }
  }
  const int extras = causal_sum.extra == Extra::kNone ? 0 : kParts * kColumns;
  for (int e = t; e < extras; e += kThreads) {
    const int part = e / kColumns, column = e % kColumns;
    float sum = 0;
    for (int y = 0; y < kRows; ++y) {
      const float factor = causal_sum.extra == Extra::kOfKey ? keys.delta[y] : 1;
      sum += Phase(keys, part, y) * factor * value[y * kColumns + column];
    }
    state[S::kExtras + e] += sum;
  }
  const int key_sums = causal_sum.is_output ? kParts * kWidth : 0;
  for (int e = t; e < key_sums; e += kThreads) {
    const int part = e / kWidth, column = e % kWidth;
    float sum = 0;
    for (int y = 0; y < kRows; ++y) {
      sum += Phase(keys, part, y) * key[y * kRowStride<kWidth> + column];
    }
    state[S::kKeys + e] += sum;
  }
}

// D is added up by 4 threads a row, and the 4 parts by whoever reads it.
constexpr int kNormalizerParts = kThreads / kRows;

COSDT_DEVICE float SumWeights(int t, const float* weights) {
  float sum = 0;
  COSDT_UNROLL for (int y = t % kNormalizerParts; y < kRows; y += kNormalizerParts) {
    sum += weights[y * kWeightStride + t / kNormalizerParts];
  }
  return sum;
}

template <int kWidth, int kColumns, int kParts>
COSDT_DEVICE float SumEarlierWeights(int t, const float* query, const float* state,
                                     const RowTable& queries) {
  const int row = t / kNormalizerParts;
  const float* const keys = state + State<kWidth, kColumns, kParts>::kKeys;
  float sum = 0;
  for (int p = t % kNormalizerParts; p < kWidth; p += kNormalizerParts) {
    float earlier = Phase(queries, 0, row) * keys[p];
    if constexpr (kParts == 2) earlier += Phase(queries, 1, row) * keys[kWidth + p];
    sum += query[row * kRowStride<kWidth> + p] * earlier;
  }
  return sum;
}

// Divides or multiplies by slopes, and writes a tile's columns from first_column on.
template <int kColumns>
COSDT_DEVICE void StoreTile(int t, const Shape& shape, const CausalSum& sum,
                            const RowTable& queries, const float* normalizer_parts,
                            int first_column, const Accumulator<kColumns>& accumulator) {
  COSDT_UNROLL for (int r = 0; r < kThreadRows; ++r) {
    const int row = FirstRow(t) + r;
    if (queries.token[row] < 0) continue;
    float factor = 1;
    if (sum.is_output && shape.normalize) {
      float parts[kNormalizerParts];
      Read(normalizer_parts + row * kNormalizerParts, parts);
      const float normalizer = (parts[0] + parts[1]) + (parts[2] + parts[3]);
      factor = Reciprocal(shape, normalizer);
      if (first_column == 0 && t % kLanes == 0) {
        shape.normalizer[queries.first[row] + queries.token[row]] = normalizer;
      }
    }
    const bool clear = sum.out.masked && !queries.real[row];
    const ptrdiff_t offset = Offset(sum.out.array, queries, row);
    COSDT_UNROLL for (int i = 0; i < Columns<kColumns>::kCount; ++i) {
      const int column = first_column + Columns<kColumns>::Of(t, i);
      float number = factor * accumulator.sum[r][i];
      if (sum.slope.features != Features::kIdentity) {
        number *= Slope(sum.slope.features,
                        Load(sum.slope, Offset(sum.slope.array, queries, row) + column));
      }
      Store(sum.out, offset + column, clear ? 0 : number);
    }
  }
}

}  // namespace cosdt::attention::kernels::cuda
