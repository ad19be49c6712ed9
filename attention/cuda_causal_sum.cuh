// The one sum that the output and all gradients of causal linear attention are, chunk by chunk of
// 64 tokens, with the state of the chunks before in float32 registers (attention/README.md,
// equation 7).
#pragma once

#include <type_traits>

#include "attention/cuda_products.cuh"
#include "attention/linear_kernels.h"

namespace cosdt::attention::kernels::cuda {

// An array [batch, heads, length, width] and what becomes of its values when they are loaded.
struct Rows {
  char* data = nullptr;
  int batch = 0, head = 0, token = 0;  // strides in bytes: 32 bits make addresses one instruction
  int width = 0;                       // columns; a multiple of kVector
  Features features = Features::kIdentity;
  bool masked = false;  // zeros at padding
};

// What is added to a product of query and key: nothing, d of the query's row or d of the key's.
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

// Up to so many segments a block adds up the states before its own; beyond, a scan has.
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

// What a kernel computes: sums of one chunk, of several with a state between them, or what each
// segment adds to the state.
enum class Task { kOneChunk, kManyChunks, kStates };

// kWidth bounds the widths of query and key, kColumns the columns of value that a block takes.
// kIsOutput: the sum is the output, else a gradient. Four warps share the rows of a chunk, 16 each;
// where there are eight, two share the columns of value and the keys of the scores.
template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
struct CausalSumKernel {
  static constexpr bool kHasState = kTask != Task::kOneChunk;
  using T = typename Products::Value;
  static constexpr int kRowWarps = 4;
  static constexpr int kTiles = kColumns == 128 ? 8 : 4;  // of 8 columns a warp
  static constexpr int kColumnWarps = kColumns / (8 * kTiles);
  static constexpr int kThreads = 32 * kRowWarps * kColumnWarps;
  static constexpr int kStateTiles = (kWidth + kChunk - 1) / kChunk;  // of 16 rows a warp
  // the tiles of float32 at 128 leave no room for a second set
  static constexpr int kBuffers = kHasState && sizeof(T) * kWidth <= 256 ? 2 : 1;
  // floats a thread keeps of a state
  static constexpr int kStateValues = 2 * kStateTiles * kTiles * 4 + kStateTiles * 4;
  // What is summed in lines of its own: in bfloat16 phases are two values, rounded and the rest;
  // float32 keeps its mantissa here.
  static constexpr int kLines = sizeof(T) == 2 ? 4 : 2;
  using LineProducts = std::conditional_t<sizeof(T) == 2, BFloat16Products, Float32Products>;

  struct State {
    alignas(16) T x[2][kWidth][kColumns + kVector<T>];
    T keys[kWidth][8];  // of the normaliser: columns cos, sin, and what rounding them left
    alignas(16) float extras[2][kColumns];
  };
  struct Shared {
    Tile<T, kWidth> query[kBuffers], key[kBuffers];
    Tile<T, kColumns> value[kBuffers];
    Tile<T, kChunk> scores;
    float totals[kColumnWarps][kChunk];  // of the rows of the scores
    // two sets, in turns: a chunk's are written while some warps still read those of the one before
    struct alignas(16) Phases {
      // cos and sin of the chunk's rows times f_x, f_y and the two factors of extra
      float query[kChunk][2], key[kChunk][2], query_extra[kChunk][2], key_extra[kChunk][2];
      T rounded[2][kChunk];      // of keys
      T lines[kLines][kChunk];   // of the sums of keys (output) or of values (gradients)
      int not_finite[kColumns];  // the first row where a column of value is not finite; 64: none
    } phases[2];
  };
  static constexpr int kSharedBytes =
      static_cast<int>(sizeof(Shared) + (kHasState ? sizeof(State) : 0));
  static_assert(sizeof(Shared) % 16 == 0);

  // A head's rows, counted as the sum counts them.
  struct Line {
    char* first;
    int step;  // bytes
    COSDT_DEVICE T* At(int row) const { return reinterpret_cast<T*>(Advance(first, row, step)); }
  };

  const PassArguments& pass;
  const CausalSum& sum;
  const int head, segment, first_column;
  const int batch, head_of_batch;
  float* const states;  // of the head's segments
  Shared& s;
  State& state;
  const bool* const mask;  // of the batch element, or null

  // Registers
  float sums[2][kStateTiles][kTiles][4];  // of the state: key^T value for each phase
  float lines[kStateTiles][4];            // of keys (output) or of values (gradients), transposed

  COSDT_DEVICE CausalSumKernel(const PassArguments& all, int item, int slice, int which,
                               unsigned char* shared, int items, int slices)
      : pass(all),
        sum(all.sums[which]),
        head(item / all.segments),
        segment(item % all.segments),
        first_column(slice * kColumns),
        batch(head / all.heads),
        head_of_batch(head % all.heads),
        states(all.states ? all.states + ((static_cast<ptrdiff_t>(which * slices + slice) * items +
                                           item - segment) *
                                          kStateValues * kThreads)
                          : nullptr),
        s(*reinterpret_cast<Shared*>(shared)),
        state(*reinterpret_cast<State*>(shared + sizeof(Shared))),
        mask(all.mask ? all.mask + static_cast<ptrdiff_t>(batch) * all.length : nullptr) {}

  COSDT_DEVICE int Thread() const { return ThreadIndex(); }
  COSDT_DEVICE int Lane() const { return ThreadIndex() % 32; }
  COSDT_DEVICE int WarpRow() const { return ThreadIndex() / 32 % kRowWarps * 16; }
  COSDT_DEVICE int ColumnWarp() const { return ThreadIndex() / 32 / kRowWarps; }
  COSDT_DEVICE int WarpColumn() const { return ColumnWarp() * 8 * kTiles; }
  // The first of the two neighbouring columns of a product's tile that this lane has.
  COSDT_DEVICE int LaneColumn() const { return Lane() % 4 * 2; }

  COSDT_DEVICE int TokenOf(int row) const { return sum.reversed ? pass.length - 1 - row : row; }

  COSDT_DEVICE Line LineOf(const Rows& rows) const {
    Line line;
    line.first = Advance(Advance(rows.data, batch, rows.batch), head_of_batch, rows.head);
    if (sum.reversed) line.first = Advance(line.first, pass.length - 1, rows.token);
    line.step = sum.reversed ? -rows.token : rows.token;
    return line;
  }

  // Every thread copies the same places of each chunk, and later changes what it copied.
  template <int kTileColumns>
  static constexpr int kCopies = kChunk * kTileColumns / kVector<T> / kThreads;
  template <int kTileColumns>
  COSDT_DEVICE int CopyRow(int i) const {
    constexpr int kVectors = kTileColumns / kVector<T>;
    return Thread() / kVectors + i * (kThreads / kVectors);
  }
  template <int kTileColumns>
  COSDT_DEVICE int CopyColumn() const {
    return Thread() % (kTileColumns / kVector<T>)*kVector<T>;
  }

  // Begins to copy a chunk's rows. Returns a bit for every vector that is not zeros.
  template <int kTileColumns>
  COSDT_DEVICE uint32_t Copy(Tile<T, kTileColumns>& to, const Rows& rows, int from_column,
                             int chunk) {
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

  // phi and padding, on what this thread copied.
  template <int kTileColumns>
  COSDT_DEVICE void Map(Tile<T, kTileColumns>& tile, const Rows& rows, uint32_t real) {
    if (rows.features == Features::kEluPlusOne) {
      MapEach(tile, real, [](float x) { return Feature<true>(x); });
    } else if (rows.features == Features::kRelu) {
      MapEach(tile, real, [](float x) { return Feature<false>(x); });
    } else if (rows.masked) {
      MapEach(tile, real, [](float x) { return x; });
    }
  }
  template <int kTileColumns, class Function>
  COSDT_DEVICE void MapEach(Tile<T, kTileColumns>& tile, uint32_t real, const Function& function) {
    COSDT_UNROLL for (int i = 0; i < kCopies<kTileColumns>; ++i) {
      T* const place = &tile.x[CopyRow<kTileColumns>(i)][CopyColumn<kTileColumns>()];
      Vector vector = LoadVector(place);
      const uint32_t kept = 0 - (real >> i & 1);  // all bits or none: no branch for each word
      COSDT_UNROLL for (uint32_t& word : vector.words) {
        word = MapWord(T{}, word, function) & kept;
      }
      StoreVector(place, vector);
    }
  }

  // A value that is not finite must not reach earlier rows, whose weight of it is 0: it is replaced
  // by 0 and its place is remembered. Returns whether there was one.
  COSDT_DEVICE bool TakeNotFinite(Tile<T, kColumns>& tile, int (&first)[kColumns]) {
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

  static COSDT_DEVICE bool AllFinite(const Vector& vector) {
    uint32_t carry = 0;
    // an exponent of ones carries into the sign
    constexpr uint32_t kExponents = sizeof(T) == 2 ? 0x7f807f80u : 0x7f800000u;
    constexpr uint32_t kOnes = sizeof(T) == 2 ? 0x00800080u : 0x00800000u;
    COSDT_UNROLL for (const uint32_t word : vector.words) carry |= (word & kExponents) + kOnes;
    return (carry & (sizeof(T) == 2 ? 0x80008000u : 0x80000000u)) == 0;
  }

  // The warps that write the phases, a row a lane: those with the fewest scores to compute.
  COSDT_DEVICE bool WritesPhases() const {
    return ColumnWarp() == kColumnWarps - 1 && WarpRow() < 32;
  }
  COSDT_DEVICE int PhaseRow() const { return WarpRow() * 2 + Lane(); }

  // Begins to copy a chunk. Returns Copy's bits of query, key and value, a byte each.
  COSDT_DEVICE uint32_t BeginChunk(int chunk, int buffer) {
    static_assert(kCopies<kWidth> <= 8 && kCopies<kColumns> <= 8);
    const uint32_t query = kTask == Task::kStates ? 0 : Copy(s.query[buffer], sum.query, 0, chunk);
    const uint32_t key = Copy(s.key[buffer], sum.key, 0, chunk);
    const uint32_t value = Copy(s.value[buffer], sum.value, first_column, chunk);
    return query | key << 8 | value << 16;
  }

  // D and d of a chunk's rows, for the lanes that will write their phases.
  struct RowSums {
    float normalizer = 1, delta = 0;
  };
  COSDT_DEVICE RowSums LoadRowSums(int chunk) const {
    RowSums sums_of_row;
    const int row = chunk * kChunk + PhaseRow();
    if (!kIsOutput && pass.deltas && WritesPhases() && row < pass.length) {
      const ptrdiff_t place = static_cast<ptrdiff_t>(head) * pass.length + TokenOf(row);
      sums_of_row.normalizer = pass.normalizer[place];
      sums_of_row.delta = pass.deltas[place];
    }
    return sums_of_row;
  }

  COSDT_DEVICE void WritePhases(int chunk, int set, const RowSums& sums_of_row) {
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

  COSDT_DEVICE bool HasLines() const {
    return kIsOutput ? pass.normalize : sum.extra != Extra::kNone;
  }
  COSDT_DEVICE int Parts() const { return pass.half_turns > 0 ? 2 : 1; }

  // Two words of the lines that a lane gives to a product: of line `lane / 4`, or zeros.
  COSDT_DEVICE void LoadLines(uint32_t (&to)[2], const T (&from)[kLines][kChunk], int depth) const {
    constexpr int kWord = 4 / static_cast<int>(sizeof(T));  // values of a word
    to[0] = to[1] = 0;
    if (Lane() / 4 >= kLines) return;
    const T* const place = &from[Lane() / 4][depth + Lane() % 4 * kWord];
    to[0] = LoadWord(place);
    to[1] = LoadWord(place + 4 * kWord);
  }

  // Adds a chunk to the state.
  COSDT_DEVICE void AddChunk(int buffer, int set, bool not_finite) {
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

  // Puts the state where products read it.
  COSDT_DEVICE void StoreState() {
    if (WarpRow() >= kWidth) return;
    COSDT_UNROLL for (int part = 0; part < 2; ++part) {
      if (part >= Parts()) continue;
      COSDT_UNROLL for (int tile = 0; tile < kStateTiles; ++tile) {
        const int row = tile * kChunk + WarpRow() + Lane() / 4;
        COSDT_UNROLL for (int n = 0; n < kTiles; ++n) {
          const int column = WarpColumn() + n * 8 + LaneColumn();
          StorePair(&state.x[part][row][column], sums[part][tile][n][0], sums[part][tile][n][1]);
          StorePair(&state.x[part][row + 8][column], sums[part][tile][n][2],
                    sums[part][tile][n][3]);
        }
      }
    }
    if (HasLines() && ColumnWarp() == 0) StoreLines();
  }

  // The two phases' sums; in bfloat16 as the rounded sum and what is left of it, by two lanes.
  COSDT_DEVICE void StoreLines() {
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

  static COSDT_DEVICE void StorePair(float* to, float x, float y) {
    StoreWords(to, ToBits(x), ToBits(y));
  }
  static COSDT_DEVICE void StorePair(BFloat16* to, float x, float y) {
    StoreWord(to, PackBFloat16(x, y));
  }

  // A state in global memory, value by value and thread by thread.
  template <class Visit>
  COSDT_DEVICE void ForState(int of_segment, const Visit& visit) {
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

  // out += what the state gives the chunk's queries; the first column warps sum up its keys, too.
  // Gradients have fewer registers to spare.
  COSDT_DEVICE void AddEarlier(int buffer, int set, float (&out)[kTiles][4], float (&total)[2]) {
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
          LoadRight(right, &state.x[part][0][0], kColumns + kVector<T>, depth,
                    WarpColumn() + n * 8);
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

  COSDT_DEVICE void LoadKeys(uint32_t (&to)[4], int depth) const {
    if constexpr (sizeof(T) == 2) {
      LoadTransposedMatrices(to, state.keys[depth + Lane() % 16]);
    } else {
      to[0] = ToBits(state.keys[depth + Lane() % 4][Lane() / 4]);
      to[1] = ToBits(state.keys[depth + 4 + Lane() % 4][Lane() / 4]);
    }
  }

  // The weighted scores of this warp's rows with its 32 keys, up to the diagonal, to shared memory.
  COSDT_DEVICE void ComputeScores(int buffer, int set, float (&total)[2]) {
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

  // out += scores value, up to the diagonal.
  COSDT_DEVICE void AddOwn(int buffer, float (&out)[kTiles][4]) {
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

  // The warps that share rows tell each other the rows' sums.
  COSDT_DEVICE void ShareTotals(float (&total)[2]) {
    COSDT_UNROLL for (int half = 0; half < 2; ++half) {
      total[half] += ShuffleXor(total[half], 1);
      total[half] += ShuffleXor(total[half], 2);
      if (Lane() % 4 == 0) s.totals[ColumnWarp()][WarpRow() + Lane() / 4 + 8 * half] = total[half];
    }
  }

  // Four neighbouring columns of a row, which is what a thread writes: two lanes exchange halves of
  // two tiles.
  COSDT_DEVICE int QuadColumn(int pair) const {
    return first_column + WarpColumn() + pair * 16 + Lane() % 2 * 8 + Lane() % 4 / 2 * 4;
  }

  // Four values are two or four words.
  static constexpr int kQuadWords = static_cast<int>(sizeof(T));
  struct Slopes {
    uint32_t words[2][kTiles / 2][kQuadWords];
  };
  COSDT_DEVICE void LoadSlopes(int chunk, Slopes& slopes) const {
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
  static COSDT_DEVICE void LoadQuad(const float* from, uint32_t (&to)[4]) {
    const Vector vector = LoadVector(from);
    COSDT_UNROLL for (int i = 0; i < 4; ++i) to[i] = vector.words[i];
  }
  static COSDT_DEVICE void LoadQuad(const BFloat16* from, uint32_t (&to)[2]) {
    LoadWords(from, to[0], to[1]);
  }
  static COSDT_DEVICE float SlopeValue(const uint32_t (&words)[4], int i) {
    return FromBits(words[i]);
  }
  static COSDT_DEVICE float SlopeValue(const uint32_t (&words)[2], int i) {
    return i % 2 == 0 ? LowOf(words[i / 2]) : HighOf(words[i / 2]);
  }
  static COSDT_DEVICE void StoreQuad(float* to, const float (&from)[4]) {
    StoreVector(to, {{ToBits(from[0]), ToBits(from[1]), ToBits(from[2]), ToBits(from[3])}});
  }
  static COSDT_DEVICE void StoreQuad(BFloat16* to, const float (&from)[4]) {
    StoreWords(to, PackBFloat16(from[0], from[1]), PackBFloat16(from[2], from[3]));
  }

  COSDT_DEVICE void Write(int chunk, int set, bool not_finite, float (&out)[kTiles][4],
                          const Slopes& slopes) {
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

  COSDT_DEVICE void Run() {
    if (first_column >= sum.value.width) return;
    const int chunks = (pass.length + kChunk - 1) / kChunk;
    const int first = segment * pass.chunks_per_segment;
    const int last = MinOf(first + pass.chunks_per_segment, chunks);
    if (kTask == Task::kStates && segment + 1 == pass.segments)
      return;  // nobody needs what it adds
    uint32_t real = BeginChunk(first, 0);
    if constexpr (kHasState) BeginState();
    WritePhases(first, 0, LoadRowSums(first));
    RowSums ahead_sums = LoadRowSums(first + 1);
    SyncThreads();
    for (int chunk = first; chunk < last; ++chunk) {
      const int set = (chunk - first) % 2, buffer = kBuffers == 2 ? set : 0;
      const bool is_last = chunk + 1 == last;
      WaitForCopies();
      if constexpr (kTask != Task::kStates) Map(s.query[buffer], sum.query, real);
      Map(s.key[buffer], sum.key, real >> 8);
      Map(s.value[buffer], sum.value, real >> 16);
      const bool not_finite =
          SyncThreadsOr(TakeNotFinite(s.value[buffer], s.phases[set].not_finite));
      if (kBuffers == 2 && !is_last) real = BeginChunk(chunk + 1, 1 - set);
      if (kHasState && !is_last) {
        // in the shadow of the other warps' scores
        WritePhases(chunk + 1, 1 - set, ahead_sums);
        ahead_sums = LoadRowSums(chunk + 2);
      }
      if constexpr (kTask != Task::kStates) {
        ComputeChunk(chunk, buffer, set, not_finite);
        if (is_last) return;
      }
      if constexpr (kHasState) {
        SyncThreads();  // all have read the state
        AddChunk(buffer, set, not_finite);
        if constexpr (kTask == Task::kManyChunks) StoreState();
        if (kBuffers == 1 && !is_last) {
          SyncThreads();  // all have read the tiles
          real = BeginChunk(chunk + 1, 0);
        }
      }
    }
    if constexpr (kTask == Task::kStates) {
      ForState(segment, [](float own, float* stored) { *stored = own; });
    }
  }

  // The state before the segment.
  COSDT_DEVICE void BeginState() {
    ForState(0, [](float& own, const float*) { own = 0; });
    if (kTask == Task::kStates || segment == 0) return;
    const bool is_scanned = pass.segments > kMaxUnscanned;
    const int end = is_scanned ? segment + 1 : segment;
    COSDT_NO_UNROLL for (int i = is_scanned ? segment : 0; i < end; ++i) {
      ForState(i, [](float& own, const float* stored) { own += *stored; });
    }
    StoreState();
  }

  COSDT_DEVICE void ComputeChunk(int chunk, int buffer, int set, bool not_finite) {
    float out[kTiles][4] = {}, total[2] = {};
    ComputeScores(buffer, set, total);
    Slopes slopes;  // on their way while products are computed
    LoadSlopes(chunk, slopes);
    if constexpr (kHasState) {
      if (chunk > 0) AddEarlier(buffer, set, out, total);
    }
    if constexpr (kIsOutput) ShareTotals(total);
    SyncWarps(1 + WarpRow() / 16, 32 * kColumnWarps);
    AddOwn(buffer, out);
    Write(chunk, set, not_finite, out, slopes);
  }
};

}  // namespace cosdt::attention::kernels::cuda
