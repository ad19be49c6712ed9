// The one sum that the output and all gradients of causal linear attention are, chunk by chunk of
// 64 tokens, with the state of the chunks before in float32 registers (attention/README.md,
// equation 7). The kernel's parts follow in files of their own, included below.
#pragma once

#include <type_traits>

#include "attention/cuda_products.cuh"
#include "attention/cuda_sum_problem.cuh"

namespace cosdt::attention::kernels::cuda {

// kWidth bounds the widths of query and key, kColumns the columns of value that a block takes.
// kIsOutput: the sum is the output, else a gradient. Four warps share the rows of a chunk, 16 each;
// if there are eight, two share the columns of value and the keys of the scores.
template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
struct CausalSumKernel {
  static constexpr bool kHasState = kTask != Task::kOneChunk;
  using T = typename Products::Value;
  static constexpr int kRowWarps = 4;
  static constexpr int kTiles = kColumns == 128 ? 8 : 4;  // of 8 columns per warp
  static constexpr int kColumnWarps = kColumns / (8 * kTiles);
  static constexpr int kThreads = 32 * kRowWarps * kColumnWarps;
  static constexpr int kStateTiles = (kWidth + kChunk - 1) / kChunk;  // of 16 rows per warp
  // float32's tiles at 128 leave no room for two sets
  static constexpr int kBuffers = kHasState && sizeof(T) * kWidth <= 256 ? 2 : 1;
  // floats of a state per thread
  static constexpr int kStateValues = 2 * kStateTiles * kTiles * 4 + kStateTiles * 4;
  // The lines that are summed on their own: in bfloat16 phases are two values, rounded and the
  // rest; float32 keeps its mantissa here.
  static constexpr int kLines = sizeof(T) == 2 ? 4 : 2;
  using LineProducts = std::conditional_t<sizeof(T) == 2, BFloat16Products, Float32Products>;

  struct State {
    alignas(16) T x[2][kWidth][kColumns + kVector<T>];
    T keys[kWidth][8];  // of the normalizer: columns cos, sin, and what rounding them left
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
      int not_finite[kColumns];  // the first row in which a column of value is not finite; 64: none
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
  // The first of the two neighboring columns of a product's tile that this lane has.
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
                             int chunk);

  // phi and padding, on what this thread copied.
  template <int kTileColumns>
  COSDT_DEVICE void Map(Tile<T, kTileColumns>& tile, const Rows& rows, uint32_t real);
  template <int kTileColumns, class Function>
  COSDT_DEVICE void MapEach(Tile<T, kTileColumns>& tile, uint32_t real, const Function& function);

  // A value that is not finite must not reach earlier rows, whose weight of it is 0: it is replaced
  // by 0 and its place is remembered. Returns whether there was one.
  COSDT_DEVICE bool TakeNotFinite(Tile<T, kColumns>& tile, int (&first)[kColumns]);

  static COSDT_DEVICE bool AllFinite(const Vector& vector);

  // The warps that write the phases, one row per lane: those with the fewest scores to compute.
  COSDT_DEVICE bool WritesPhases() const {
    return ColumnWarp() == kColumnWarps - 1 && WarpRow() < 32;
  }
  COSDT_DEVICE int PhaseRow() const { return WarpRow() * 2 + Lane(); }

  // Begins to copy a chunk. Returns Copy's bits of query, key and value, one byte each.
  COSDT_DEVICE uint32_t BeginChunk(int chunk, int buffer);

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

  COSDT_DEVICE void WritePhases(int chunk, int set, const RowSums& sums_of_row);

  COSDT_DEVICE bool HasLines() const {
    return kIsOutput ? pass.normalize : sum.extra != Extra::kNone;
  }
  COSDT_DEVICE int Parts() const { return pass.half_turns > 0 ? 2 : 1; }

  // Two words of the lines that a lane gives to a product: of line `lane / 4`, or zeros.
  COSDT_DEVICE void LoadLines(uint32_t (&to)[2], const T (&from)[kLines][kChunk], int depth) const;

  // Adds a chunk to the state.
  COSDT_DEVICE void AddChunk(int buffer, int set, bool not_finite);

  // Copies the state to shared memory, from which products read it.
  COSDT_DEVICE void StoreState();

  // The two phases' sums; in bfloat16 as the rounded sum and what is left of it, by two lanes.
  COSDT_DEVICE void StoreLines();

  static COSDT_DEVICE void StorePair(float* to, float x, float y) {
    StoreWords(to, ToBits(x), ToBits(y));
  }
  static COSDT_DEVICE void StorePair(BFloat16* to, float x, float y) {
    StoreWord(to, PackBFloat16(x, y));
  }

  // A state in global memory, value by value and thread by thread.
  template <class Visit>
  COSDT_DEVICE void ForState(int of_segment, const Visit& visit);

  // out += the state's contribution to the chunk's queries; the first column warps sum up its keys,
  // too. Gradients have fewer registers to spare.
  COSDT_DEVICE void AddEarlier(int buffer, int set, float (&out)[kTiles][4], float (&total)[2]);

  COSDT_DEVICE void LoadKeys(uint32_t (&to)[4], int depth) const;

  // The weighted scores of this warp's rows with its 32 keys, up to the diagonal, to shared memory.
  COSDT_DEVICE void ComputeScores(int buffer, int set, float (&total)[2]);

  // out += scores value, up to the diagonal.
  COSDT_DEVICE void AddOwn(int buffer, float (&out)[kTiles][4]);

  // The warps that share rows tell each other the rows' sums.
  COSDT_DEVICE void ShareTotals(float (&total)[2]);

  // Four neighboring columns of a row, which is what a thread writes: two lanes exchange halves of
  // two tiles.
  COSDT_DEVICE int QuadColumn(int pair) const {
    return first_column + WarpColumn() + pair * 16 + Lane() % 2 * 8 + Lane() % 4 / 2 * 4;
  }

  // Four values are two or four words.
  static constexpr int kQuadWords = static_cast<int>(sizeof(T));
  struct Slopes {
    uint32_t words[2][kTiles / 2][kQuadWords];
  };
  COSDT_DEVICE void LoadSlopes(int chunk, Slopes& slopes) const;
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
                          const Slopes& slopes);

  COSDT_DEVICE void Run();

  // The state before the segment.
  COSDT_DEVICE void BeginState();

  COSDT_DEVICE void ComputeChunk(int chunk, int buffer, int set, bool not_finite);
};

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
COSDT_DEVICE void CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::Run() {
  if (first_column >= sum.value.width) return;
  const int chunks = (pass.length + kChunk - 1) / kChunk;
  const int first = segment * pass.chunks_per_segment;
  const int last = MinOf(first + pass.chunks_per_segment, chunks);
  if (kTask == Task::kStates && segment + 1 == pass.segments) return;  // nobody needs its state
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
    const bool not_finite = SyncThreadsOr(TakeNotFinite(s.value[buffer], s.phases[set].not_finite));
    if (kBuffers == 2 && !is_last) real = BeginChunk(chunk + 1, 1 - set);
    if (kHasState && !is_last) {
      // while the other warps compute scores
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

template <class Products, int kWidth, int kColumns, Task kTask, bool kIsOutput>
COSDT_DEVICE void CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>::ComputeChunk(
    int chunk, int buffer, int set, bool not_finite) {
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

}  // namespace cosdt::attention::kernels::cuda

#include "attention/cuda_sum_load.cuh"    // IWYU pragma: export
#include "attention/cuda_sum_output.cuh"  // IWYU pragma: export
#include "attention/cuda_sum_state.cuh"   // IWYU pragma: export
