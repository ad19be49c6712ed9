// The one sum that the output and all gradients of causal linear attention are, chunk by chunk of 64
// tokens, with the state of the chunks before in float32 registers (attention/README.md, equation 7).
#pragma once

#include "attention/cuda_products.cuh"
#include "attention/linear_kernels.h"

namespace cosdt::attention::kernels::cuda {

// An array [batch, heads, length, width] and what becomes of its values when they are loaded.
struct Rows {
  Array array;
  int width = 0;  // columns; a multiple of kVector
  Features features = Features::kIdentity;
  bool masked = false;  // zeros at padding
};

// What is added to a product of query and key: nothing, d of the query's row or d of the key's.
enum class Extra { kNone, kOfQuery, kOfKey };

// One sum over earlier rows:
//   out_x = f_x sum_{y <= x} w_xy (query_x . key_y + extra_xy) f_y value_y,  w_xy = cos(pi/2 (x-y)/M)
//   output:        query = phi(q)   key = phi(k)   value = v        (then divided by D)
//   gradient of q: query = g        key = v        value = phi(k)   f_x = r_x, extra = d_x
//   gradient of k: query = v        key = g        value = phi(q)   f_y = r_y, extra = d_y  reversed
//   gradient of v: query = phi(k)   key = phi(q)   value = g        f_y = r_y               reversed
// with r = 1 / max(D, eps) and d of attention/README.md, equation (4), which no f multiplies.
struct CausalSum {
  Rows query, key, value;
  Extra extra = Extra::kNone;
  bool scales_query = false;  // f_x = r_x
  bool scales_key = false;    // f_y = r_y
  bool reversed = false;      // rows count from the last token
  bool is_output = false;     // sums up D too, writes it and divides by it
  Rows slope{};               // gradients are multiplied by phi' of these rows
  Rows out{};                 // `masked` ones are zero at padding
};

constexpr int kMostSums = 3;  // of a pass

struct PassArguments {
  CausalSum sums[kMostSums];
  int heads = 1;           // of a batch element
  int length = 1;          // tokens
  double half_turns = 0;   // of the phase from one token to the next: 1 / 2M; 0: weights are 1
  const bool* mask = nullptr;
  bool normalize = true;
  bool one_product = false;  // float32 in plain tf32
  float eps = 0;
  float* normalizer = nullptr;    // D [batch, heads, length]
  const float* deltas = nullptr;  // d likewise, which gradients read
  int segments = 1, chunks_per_segment = 1;
  bool only_states = false;  // writes what each segment adds to the state
  float* states = nullptr;   // [sums, slices, heads, segments, values, threads]
};

COSDT_DEVICE float Reciprocal(float sum, float eps) { return 1 / (sum < eps ? eps : sum); }

// phi; a NaN stays one.
COSDT_DEVICE float Feature(Features features, float x) {
  if (features == Features::kRelu) return x < 0 ? 0 : x;
  if (features == Features::kEluPlusOne) return x > 0 ? x + 1 : Exp(x);
  return x;
}

// phi'
COSDT_DEVICE float Slope(Features features, float x) {
  if (features == Features::kRelu) return x > 0 ? 1 : 0;
  if (features == Features::kEluPlusOne) return x > 0 ? 1 : Exp(x);
  return 1;
}

// kWidth bounds the widths of query and key, kColumns the columns of value that a block takes.
// kHasState: more than one chunk.
template <class T, int kWidth, int kColumns, bool kHasState>
struct CausalSumKernel {
  static constexpr int kRowWarps = 4;
  static constexpr int kColumnWarps = kColumns / 32;
  static constexpr int kThreads = 32 * kRowWarps * kColumnWarps;
  static constexpr int kTiles = 4;  // of 8 columns a warp
  static constexpr int kStateTiles = (kWidth + kChunk - 1) / kChunk;  // of 16 rows a warp
  // the tiles of float32 at 128 leave no room for a second set
  static constexpr int kBuffers = kHasState && sizeof(T) * kWidth <= 256 ? 2 : 1;
  // floats a thread keeps of a state
  static constexpr int kStateValues = 2 * kStateTiles * kTiles * 4 + 2;

  struct State {
    alignas(16) T x[2][kWidth][kColumns + kVector<T>];
    T keys[kWidth][8];  // of the normaliser: columns cos, sin, and what rounding them left
    float extras[2][kColumns];
  };
  struct Shared {
    Tile<T, kWidth> query[kBuffers], key[kBuffers];
    Tile<T, kColumns> value[kBuffers];
    // two sets, in turns: a chunk's are written while some warps still read those of the one before
    struct {
      // phases of the chunk's rows times f_x, f_y and the two factors of extra
      float query_phase[2][kChunk], key_phase[2][kChunk];
      float query_extra[2][kChunk], key_extra[2][kChunk];
      alignas(16) T rounded_phase[2][kChunk];  // of keys
      int not_finite[kColumns];  // the first row where a column of value is not finite; 64: none
    } rows[2];
  };
  static constexpr int kSharedBytes =
      static_cast<int>(sizeof(Shared) + (kHasState ? sizeof(State) : 0));
  static_assert(sizeof(Shared) % 16 == 0);

  const PassArguments& pass;
  const CausalSum& sum;
  const int head, segment, first_column;
  float* const own_states;
  Shared& s;
  State& state;

  // Registers
  float sums[2][kStateTiles][kTiles][4];  // of the state: key^T value for each phase
  float line[2];                          // of keys (output) or extra (gradients), by thread

  COSDT_DEVICE CausalSumKernel(const PassArguments& all, int item, int slice, int which,
                               unsigned char* shared, int items, int slices)
      : pass(all),
        sum(all.sums[which]),
        head(item / all.segments),
        segment(item % all.segments),
        first_column(slice * kColumns),
        own_states(all.states ? all.states + (static_cast<ptrdiff_t>(which * slices + slice) * items +
                                              item) *
                                                 kStateValues * kThreads
                              : nullptr),
        s(*reinterpret_cast<Shared*>(shared)),
        state(*reinterpret_cast<State*>(shared + sizeof(Shared))) {}

  COSDT_DEVICE int Thread() const { return ThreadIndex(); }
  COSDT_DEVICE int Lane() const { return ThreadIndex() % 32; }
  COSDT_DEVICE int WarpRow() const { return ThreadIndex() / 32 % kRowWarps * 16; }
  COSDT_DEVICE int WarpColumn() const { return ThreadIndex() / 32 / kRowWarps * 32; }

  // The token of a row of the sum, or -1 beyond the last one.
  COSDT_DEVICE int TokenOf(int row) const {
    if (row >= pass.length) return -1;
    return sum.reversed ? pass.length - 1 - row : row;
  }
  COSDT_DEVICE bool IsReal(int token) const {
    return !pass.mask ||
           pass.mask[static_cast<ptrdiff_t>(head / pass.heads) * pass.length + token];
  }
  template <class U>
  COSDT_DEVICE U* RowOf(const Rows& rows, int token) const {
    return static_cast<U*>(rows.array.data) + head / pass.heads * rows.array.batch +
           head % pass.heads * rows.array.head + token * rows.array.token;
  }

  // Every thread copies the same places of each chunk, and later changes what it copied.
  template <int kTileColumns>
  static constexpr int kCopies = kChunk * kTileColumns / kVector<T> / kThreads;
  template <int kTileColumns>
  COSDT_DEVICE int CopyRow(int i) const {
    return (Thread() + i * kThreads) / (kTileColumns / kVector<T>);
  }
  template <int kTileColumns>
  COSDT_DEVICE int CopyColumn(int i) const {
    return (Thread() + i * kThreads) % (kTileColumns / kVector<T>) * kVector<T>;
  }

  // Begins to copy a chunk's rows. Returns a bit for every vector that is not zeros.
  template <int kTileColumns>
  COSDT_DEVICE uint32_t Copy(Tile<T, kTileColumns>& to, const Rows& rows, int from_column,
                             int chunk) {
    uint32_t real = 0;
    COSDT_UNROLL for (int i = 0; i < kCopies<kTileColumns>; ++i) {
      const int row = CopyRow<kTileColumns>(i), column = CopyColumn<kTileColumns>(i);
      const int token = TokenOf(chunk * kChunk + row);
      const bool exists = token >= 0 && from_column + column < rows.width;
      CopyAsync(&to.x[row][column],
                exists ? RowOf<const T>(rows, token) + from_column + column : rows.array.data,
                exists);
      if (exists && !(rows.masked && !IsReal(token))) real |= 1u << i;
    }
    return real;
  }

  // phi and padding, on what this thread copied.
  template <int kTileColumns>
  COSDT_DEVICE void Map(Tile<T, kTileColumns>& tile, const Rows& rows, uint32_t real) {
    if (rows.features == Features::kIdentity && !rows.masked) return;
    COSDT_UNROLL for (int i = 0; i < kCopies<kTileColumns>; ++i) {
      auto& place = *reinterpret_cast<Vector<T>*>(
          &tile.x[CopyRow<kTileColumns>(i)][CopyColumn<kTileColumns>(i)]);
      Vector<T> values{};
      if (real >> i & 1) {
        values = place;
        MapVector(values, rows.features);
      }
      place = values;
    }
  }

  static COSDT_DEVICE void MapVector(Vector<float>& values, Features features) {
    COSDT_UNROLL for (float& x : values.x) x = Feature(features, x);
  }
  static COSDT_DEVICE void MapVector(Vector<BFloat16>& values, Features features) {
    uint32_t words[4];
    __builtin_memcpy(words, &values, sizeof words);
    COSDT_UNROLL for (uint32_t& word : words) {
      word = PackBFloat16(Feature(features, LowOf(word)), Feature(features, HighOf(word)));
    }
    __builtin_memcpy(&values, words, sizeof words);
  }

  // A value that is not finite must not reach earlier rows, whose weight of it is 0: it is replaced
  // by 0 and its place is remembered. Returns whether there was one.
  COSDT_DEVICE bool TakeNotFinite(Tile<T, kColumns>& tile, int (&first)[kColumns]) {
    bool found = false;
    COSDT_UNROLL for (int i = 0; i < kCopies<kColumns>; ++i) {
      const int row = CopyRow<kColumns>(i), column = CopyColumn<kColumns>(i);
      auto& place = *reinterpret_cast<Vector<T>*>(&tile.x[row][column]);
      if (AllFinite(place)) continue;
      found = true;
      COSDT_UNROLL for (int j = 0; j < kVector<T>; ++j) {
        const float x = ToFloat(place.x[j]);
        if (x - x == 0) continue;
        place.x[j] = T{};
        AtomicMin(&first[column + j], row);
      }
    }
    return found;
  }

  static COSDT_DEVICE bool AllFinite(const Vector<T>& values) {
    uint32_t words[4], carry = 0;
    __builtin_memcpy(words, &values, sizeof words);
    // an exponent of ones carries into the sign
    constexpr uint32_t kExponents = sizeof(T) == 2 ? 0x7f807f80u : 0x7f800000u;
    constexpr uint32_t kOnes = sizeof(T) == 2 ? 0x00800080u : 0x00800000u;
    COSDT_UNROLL for (const uint32_t word : words) carry |= (word & kExponents) + kOnes;
    return (carry & (sizeof(T) == 2 ? 0x80008000u : 0x80000000u)) == 0;
  }

  // What a thread knows of the next chunk before it is there.
  struct Ahead {
    uint32_t query, key, value;      // Copy's bits
    float normalizer = 1, delta = 0;  // of row `Thread()`, for the first 64 threads
  };

  COSDT_DEVICE Ahead BeginChunk(int chunk, int buffer) {
    Ahead ahead;
    ahead.query = pass.only_states ? 0 : Copy(s.query[buffer], sum.query, 0, chunk);
    ahead.key = Copy(s.key[buffer], sum.key, 0, chunk);
    ahead.value = Copy(s.value[buffer], sum.value, first_column, chunk);
    const int token = Thread() < kChunk ? TokenOf(chunk * kChunk + Thread()) : -1;
    if (token >= 0 && pass.deltas) {
      const ptrdiff_t row = static_cast<ptrdiff_t>(head) * pass.length + token;
      ahead.normalizer = pass.normalizer[row];
      ahead.delta = pass.deltas[row];
    }
    return ahead;
  }

  COSDT_DEVICE void WritePhases(int chunk, int set, const Ahead& ahead) {
    const int row = Thread();
    if (row >= kChunk) return;
    auto& to = s.rows[set];
    float cosine = 1, sine = 0;
    if (pass.half_turns > 0) {
      CosSin(static_cast<float>((chunk * kChunk + row) * pass.half_turns), &cosine, &sine);
    }
    const float r = pass.deltas ? Reciprocal(ahead.normalizer, pass.eps) : 1;
    const float of_query = sum.scales_query ? r : 1, of_key = sum.scales_key ? r : 1;
    const float extra_of_query = sum.extra == Extra::kOfQuery ? ahead.delta : 1;
    const float extra_of_key = sum.extra == Extra::kOfKey ? ahead.delta : 1;
    COSDT_UNROLL for (int part = 0; part < 2; ++part) {
      const float phase = part == 0 ? cosine : sine;
      to.query_phase[part][row] = phase * of_query;
      to.key_phase[part][row] = phase * of_key;
      to.query_extra[part][row] = phase * extra_of_query;
      to.key_extra[part][row] = phase * extra_of_key;
      Round(phase * of_key, to.rounded_phase[part][row]);
    }
  }

  // The sums of key (for the normaliser) or value (for extra) times their rows' phases: column
  // `thread / groups`, of which neighbouring threads take every groups-th row.
  template <int kLineColumns, class Rows_>
  COSDT_DEVICE void AddLine(const Rows_& tile, const float (&phases)[2][kChunk]) {
    constexpr int kGroups = kThreads / kLineColumns;
    const int column = Thread() / kGroups, group = Thread() % kGroups;
    COSDT_UNROLL for (int i = 0; i < kChunk / kGroups; ++i) {
      const int row = i * kGroups + group;
      const float x = ToFloat(tile.x[row][column]);
      line[0] += phases[0][row] * x;
      line[1] += phases[1][row] * x;
    }
  }
  template <int kLineColumns>
  COSDT_DEVICE void StoreLine() {
    constexpr int kGroups = kThreads / kLineColumns;
    const int column = Thread() / kGroups;
    float total[2] = {line[0], line[1]};
    COSDT_UNROLL for (int lanes = 1; lanes < kGroups; lanes *= 2) {
      total[0] += ShuffleXor(total[0], lanes);
      total[1] += ShuffleXor(total[1], lanes);
    }
    if (Thread() % kGroups != 0) return;
    if (!sum.is_output) {
      state.extras[0][column] = total[0];
      state.extras[1][column] = total[1];
      return;
    }
    T* const to = state.keys[column];
    COSDT_UNROLL for (int part = 0; part < 2; ++part) {
      Round(total[part], to[part]);
      Round(total[part] - ToFloat(to[part]), to[2 + part]);
    }
  }

  COSDT_DEVICE bool HasLine() const {
    return sum.is_output ? pass.normalize : sum.extra != Extra::kNone;
  }
  COSDT_DEVICE int Parts() const { return pass.half_turns > 0 ? 2 : 1; }

  // Adds a chunk to the state.
  COSDT_DEVICE void AddChunk(int buffer, int set, bool not_finite) {
    const auto& rows = s.rows[set];
    const Tile<T, kWidth>& key = s.key[buffer];
    const Tile<T, kColumns>& value = s.value[buffer];
    COSDT_UNROLL for (int depth = 0; depth < kChunk; depth += kStep<T>) {
      uint32_t left[kStateTiles][4];
      COSDT_UNROLL for (int tile = 0; tile < kStateTiles; ++tile) {
        if (WarpRow() >= kWidth) continue;  // a state of 32 rows has two warps without work
        LoadLeftTransposed(left[tile], &key.x[0][0], key.kStride, tile * kChunk + WarpRow(),
                           depth);
      }
      COSDT_UNROLL for (int n = 0; n < kTiles; n += 2) {
        uint32_t right[4];
        if (WarpRow() < kWidth) {
          LoadRight(right, &value.x[0][0], value.kStride, depth, WarpColumn() + n * 8);
        }
        COSDT_UNROLL for (int part = 0; part < 2; ++part) {
          if (part >= Parts() || WarpRow() >= kWidth) continue;
          uint32_t scaled[2][2];
          ScaleRight(scaled[0], right[0], right[1], rows.rounded_phase[part], depth);
          ScaleRight(scaled[1], right[2], right[3], rows.rounded_phase[part], depth);
          COSDT_UNROLL for (int tile = 0; tile < kStateTiles; ++tile) {
            COSDT_UNROLL for (int i = 0; i < 2; ++i) {
              AddProduct(T{}, sums[part][tile][n + i], left[tile], scaled[i][0], scaled[i][1],
                         pass.one_product);
            }
          }
        }
      }
    }
    if (not_finite) {
      COSDT_UNROLL for (int n = 0; n < kTiles; ++n) {
        COSDT_UNROLL for (int i = 0; i < 4; ++i) {
          const int column = WarpColumn() + n * 8 + Lane() % 4 * 2 + i % 2;
          if (rows.not_finite[column] == kChunk) continue;
          COSDT_UNROLL for (int tile = 0; tile < kStateTiles; ++tile) {
            sums[0][tile][n][i] = FromBits(0x7fc00000);
          }
        }
      }
    }
    if (!HasLine()) return;
    if (sum.is_output) {
      AddLine<kWidth>(key, rows.key_phase);
    } else {
      AddLine<kColumns>(value, rows.key_extra);
    }
  }

  // Puts the state where products read it.
  COSDT_DEVICE void StoreState() {
    COSDT_UNROLL for (int tile = 0; tile < kStateTiles; ++tile) {
      const int row = tile * kChunk + WarpRow() + Lane() / 4;
      if (WarpRow() >= kWidth) continue;
      COSDT_UNROLL for (int part = 0; part < 2; ++part) {
        COSDT_UNROLL for (int n = 0; n < kTiles; ++n) {
          const int column = WarpColumn() + n * 8 + Lane() % 4 * 2;
          StorePair(&state.x[part][row][column], sums[part][tile][n][0], sums[part][tile][n][1]);
          StorePair(&state.x[part][row + 8][column], sums[part][tile][n][2],
                    sums[part][tile][n][3]);
        }
      }
    }
    if (!HasLine()) return;
    if (sum.is_output) {
      StoreLine<kWidth>();
    } else {
      StoreLine<kColumns>();
    }
  }
  static COSDT_DEVICE void StorePair(float* to, float x, float y) {
    to[0] = x;
    to[1] = y;
  }
  static COSDT_DEVICE void StorePair(BFloat16* to, float x, float y) {
    const uint32_t word = PackBFloat16(x, y);
    __builtin_memcpy(to, &word, sizeof word);
  }

  // A state in global memory, value by value and thread by thread.
  template <class Visit>
  COSDT_DEVICE void ForState(const Visit& visit) {
    float* place = own_states + Thread();
    COSDT_UNROLL for (int part = 0; part < 2; ++part) {
      COSDT_UNROLL for (int tile = 0; tile < kStateTiles; ++tile) {
        COSDT_UNROLL for (int n = 0; n < kTiles; ++n) {
          COSDT_UNROLL for (int i = 0; i < 4; ++i) {
            visit(sums[part][tile][n][i], *place);
            place += kThreads;
          }
        }
      }
    }
    COSDT_UNROLL for (int part = 0; part < 2; ++part) {
      visit(line[part], *place);
      place += kThreads;
    }
  }

  // out += what the state gives the chunk's queries.
  COSDT_DEVICE void AddEarlier(int buffer, int set, float (&out)[kTiles][4], float (&total)[2]) {
    const Tile<T, kWidth>& query = s.query[buffer];
    const auto& rows = s.rows[set];
    const int row = WarpRow() + Lane() / 4;
    const bool has_total = sum.is_output && pass.normalize;
    COSDT_UNROLL for (int part = 0; part < 2; ++part) {
      if (part >= Parts()) continue;
      float x[kTiles][4] = {}, keys[4] = {};
      COSDT_UNROLL for (int depth = 0; depth < kWidth; depth += kStep<T>) {
        uint32_t left[4], right[4];
        LoadLeft(left, &query.x[0][0], query.kStride, WarpRow(), depth);
        COSDT_UNROLL for (int n = 0; n < kTiles; n += 2) {
          LoadRight(right, &state.x[part][0][0], kColumns + kVector<T>, depth,
                    WarpColumn() + n * 8);
          AddProduct(T{}, x[n], left, right[0], right[1], pass.one_product);
          AddProduct(T{}, x[n + 1], left, right[2], right[3], pass.one_product);
        }
        if (part == 0 && has_total) {
          LoadKeys(right, depth);
          AddProduct(T{}, keys, left, right[0], right[1], false);
        }
      }
      const float phase[2] = {rows.query_phase[part][row], rows.query_phase[part][row + 8]};
      COSDT_UNROLL for (int n = 0; n < kTiles; ++n) {
        COSDT_UNROLL for (int i = 0; i < 4; ++i) out[n][i] += phase[i / 2] * x[n][i];
      }
      if (part == 0 && has_total && Lane() % 4 < 2) {
        COSDT_UNROLL for (int half = 0; half < 2; ++half) {
          total[half] += rows.query_phase[0][row + 8 * half] * keys[2 * half] +
                         rows.query_phase[1][row + 8 * half] * keys[2 * half + 1];
        }
      }
    }
    if (sum.extra == Extra::kNone) return;
    COSDT_UNROLL for (int part = 0; part < 2; ++part) {
      if (part >= Parts()) continue;
      const float extra[2] = {rows.query_extra[part][row], rows.query_extra[part][row + 8]};
      COSDT_UNROLL for (int n = 0; n < kTiles; ++n) {
        COSDT_UNROLL for (int i = 0; i < 4; ++i) {
          out[n][i] += extra[i / 2] *
                       state.extras[part][WarpColumn() + n * 8 + Lane() % 4 * 2 + i % 2];
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

  // out += what the chunk's own keys give its queries, 32 keys at a time, up to the diagonal.
  COSDT_DEVICE void AddOwn(int buffer, int set, float (&out)[kTiles][4], float (&total)[2]) {
    const Tile<T, kWidth>&query = s.query[buffer], &key = s.key[buffer];
    const Tile<T, kColumns>& value = s.value[buffer];
    const auto& rows = s.rows[set];
    const int row = WarpRow() + Lane() / 4;
    COSDT_UNROLL for (int first = 0; first < kChunk; first += 32) {
      if (first > WarpRow() + 15) continue;
      float scores[4][4] = {};
      COSDT_UNROLL for (int depth = 0; depth < kWidth; depth += kStep<T>) {
        uint32_t left[4], right[4];
        LoadLeft(left, &query.x[0][0], query.kStride, WarpRow(), depth);
        COSDT_UNROLL for (int n = 0; n < 4; n += 2) {
          LoadRightTransposed(right, &key.x[0][0], key.kStride, first + n * 8, depth);
          AddProduct(T{}, scores[n], left, right[0], right[1], pass.one_product);
          AddProduct(T{}, scores[n + 1], left, right[2], right[3], pass.one_product);
        }
      }
      COSDT_UNROLL for (int n = 0; n < 4; ++n) {
        COSDT_UNROLL for (int i = 0; i < 4; ++i) {
          const int x = row + i / 2 * 8, y = first + n * 8 + Lane() % 4 * 2 + i % 2;
          float weighted = scores[n][i] * (rows.query_phase[0][x] * rows.key_phase[0][y] +
                                           rows.query_phase[1][x] * rows.key_phase[1][y]);
          if (sum.extra != Extra::kNone) {
            weighted += rows.query_extra[0][x] * rows.key_extra[0][y] +
                        rows.query_extra[1][x] * rows.key_extra[1][y];
          }
          // chosen, not multiplied: a NaN beyond the diagonal stays there
          scores[n][i] = y <= x ? weighted : 0;
          total[i / 2] += scores[n][i];
        }
      }
      COSDT_UNROLL for (int depth = 0; depth < 32; depth += kStep<T>) {
        uint32_t left[4], right[4];
        LeftOfSums(T{}, left, scores, depth / 8);
        COSDT_UNROLL for (int n = 0; n < kTiles; n += 2) {
          LoadRightOfSums(right, &value.x[0][0], value.kStride, first + depth,
                          WarpColumn() + n * 8);
          AddProduct(T{}, out[n], left, right[0], right[1], pass.one_product);
          AddProduct(T{}, out[n + 1], left, right[2], right[3], pass.one_product);
        }
      }
    }
  }

  // Four neighbouring columns of a row, which is what a thread writes: two lanes exchange halves of
  // two tiles.
  COSDT_DEVICE int QuadColumn(int pair) const {
    return first_column + WarpColumn() + pair * 16 + Lane() % 2 * 8 + Lane() % 4 / 2 * 4;
  }

  struct Slopes {
    T x[2][kTiles / 2][4];
  };
  COSDT_DEVICE void LoadSlopes(int chunk, Slopes& slopes) const {
    if (sum.slope.features == Features::kIdentity) return;
    COSDT_UNROLL for (int half = 0; half < 2; ++half) {
      const int token = TokenOf(chunk * kChunk + WarpRow() + Lane() / 4 + half * 8);
      COSDT_UNROLL for (int pair = 0; pair < kTiles / 2; ++pair) {
        const int column = QuadColumn(pair);
        if (token < 0 || column >= sum.slope.width) continue;
        Load4(RowOf<const T>(sum.slope, token) + column, slopes.x[half][pair]);
      }
    }
  }
  static COSDT_DEVICE void Load4(const T* from, T (&to)[4]) {
    struct alignas(4 * sizeof(T)) Four {
      T x[4];
    };
    const Four four = *reinterpret_cast<const Four*>(from);
    COSDT_UNROLL for (int i = 0; i < 4; ++i) to[i] = four.x[i];
  }
  static COSDT_DEVICE void Store4(float* to, const float (&from)[4]) {
    *reinterpret_cast<Vector<float>*>(to) = {{from[0], from[1], from[2], from[3]}};
  }
  static COSDT_DEVICE void Store4(BFloat16* to, const float (&from)[4]) {
    struct alignas(8) Words {
      uint32_t x[2];
    };
    *reinterpret_cast<Words*>(to) = {{PackBFloat16(from[0], from[1]),
                                      PackBFloat16(from[2], from[3])}};
  }

  COSDT_DEVICE void Write(int chunk, int set, bool not_finite, float (&out)[kTiles][4],
                          float (&total)[2], const Slopes& slopes) {
    const int row = WarpRow() + Lane() / 4;
    if (not_finite) {
      COSDT_UNROLL for (int n = 0; n < kTiles; ++n) {
        COSDT_UNROLL for (int i = 0; i < 4; ++i) {
          const int column = WarpColumn() + n * 8 + Lane() % 4 * 2 + i % 2;
          if (row + i / 2 * 8 >= s.rows[set].not_finite[column]) {
            out[n][i] = FromBits(0x7fc00000);
          }
        }
      }
    }
    const bool has_total = sum.is_output && pass.normalize;
    COSDT_UNROLL for (int half = 0; half < 2; ++half) {
      const int token = TokenOf(chunk * kChunk + row + half * 8);
      float factor = 1;
      if (has_total) {
        total[half] += ShuffleXor(total[half], 1);
        total[half] += ShuffleXor(total[half], 2);
        factor = Reciprocal(total[half], pass.eps);
        if (token >= 0 && first_column + WarpColumn() == 0 && Lane() % 4 == 0) {
          pass.normalizer[static_cast<ptrdiff_t>(head) * pass.length + token] = total[half];
        }
      }
      const bool zero = token >= 0 && sum.out.masked && !IsReal(token);
      COSDT_UNROLL for (int pair = 0; pair < kTiles / 2; ++pair) {
        const float* const low = &out[2 * pair][2 * half];
        const float* const high = &out[2 * pair + 1][2 * half];
        const bool odd = Lane() % 2 == 1;
        const float first = ShuffleXor(odd ? low[0] : high[0], 1);
        const float second = ShuffleXor(odd ? low[1] : high[1], 1);
        float quad[4] = {odd ? first : low[0], odd ? second : low[1], odd ? high[0] : first,
                         odd ? high[1] : second};
        const int column = QuadColumn(pair);
        if (token < 0 || column >= sum.out.width) continue;
        COSDT_UNROLL for (int i = 0; i < 4; ++i) {
          quad[i] *= factor;
          if (sum.slope.features != Features::kIdentity) {
            quad[i] *= Slope(sum.slope.features, ToFloat(slopes.x[half][pair][i]));
          }
          if (zero) quad[i] = 0;
        }
        Store4(RowOf<T>(sum.out, token) + column, quad);
      }
    }
  }

  COSDT_DEVICE void Run() {
    if (first_column >= sum.value.width) return;
    const int chunks = (pass.length + kChunk - 1) / kChunk;
    const int first = segment * pass.chunks_per_segment;
    const int last = Min(first + pass.chunks_per_segment, chunks);
    if (pass.only_states && segment + 1 == pass.segments) return;  // nobody needs what it adds
    if constexpr (kHasState) {
      const bool begins_with_state = segment > 0 && !pass.only_states;
      ForState([&](float& own, float& stored) { own = begins_with_state ? stored : 0; });
      if (begins_with_state) StoreState();
    }
    if (Thread() < kColumns) s.rows[0].not_finite[Thread()] = kChunk;
    Ahead ahead = BeginChunk(first, 0);
    SyncThreads();  // not_finite
    for (int chunk = first; chunk < last; ++chunk) {
      const int set = (chunk - first) % 2, buffer = kBuffers == 2 ? set : 0;
      const bool is_last = chunk + 1 == last;
      WaitForCopies();
      if (!pass.only_states) Map(s.query[buffer], sum.query, ahead.query);
      Map(s.key[buffer], sum.key, ahead.key);
      Map(s.value[buffer], sum.value, ahead.value);
      WritePhases(chunk, set, ahead);
      const bool not_finite =
          SyncThreadsOr(TakeNotFinite(s.value[buffer], s.rows[set].not_finite));
      if (kBuffers == 2 && !is_last) ahead = BeginChunk(chunk + 1, 1 - set);
      if (!pass.only_states) {
        Slopes slopes;
        LoadSlopes(chunk, slopes);
        float out[kTiles][4] = {}, total[2] = {};
        if constexpr (kHasState) {
          if (chunk > 0) AddEarlier(buffer, set, out, total);
        }
        AddOwn(buffer, set, out, total);
        Write(chunk, set, not_finite, out, total, slopes);
      }
      if constexpr (kHasState) {
        if (is_last && !pass.only_states) return;
        if (Thread() < kColumns) s.rows[1 - set].not_finite[Thread()] = kChunk;
        SyncThreads();  // all have read the state
        AddChunk(buffer, set, not_finite);
        if (!pass.only_states) StoreState();
        if (kBuffers == 1 && !is_last) {
          SyncThreads();  // all have read the tiles
          ahead = BeginChunk(chunk + 1, 0);
        }
      }
    }
    if constexpr (kHasState) {
      if (pass.only_states) ForState([](float& own, float& stored) { stored = own; });
    }
  }
};

}  // namespace cosdt::attention::kernels::cuda
