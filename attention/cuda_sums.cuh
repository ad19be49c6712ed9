// The CUDA kernels as functors over a block, and how a pass is cut into them. A block brings
//   ForThreads(part)     part(t) for all its threads, and a barrier
//   PerThread<T>         a T for each thread that lasts from one part to the next: [t]
// so that a test can be the block on the host. No kernel waits for another block or adds to memory
// that another block writes: results have the same bits every time.
#pragma once

#include <algorithm>

#include "attention/cuda_tiles.cuh"

namespace cosdt::attention::kernels::cuda {

constexpr int kMostSums = 3;  // the gradients are three

// What a block may ask for on sm_80; sm_90 and sm_100 have more.
constexpr size_t kMostSharedBytes = 163 * 1024;

// The quadratic form: a block computes one tile of the line of all heads' rows, over the tiles from
// its first row's head on.
template <int kWidth>
struct QuadraticKernel {
  Shape shape;
  CausalSum sums[kMostSums];
  int tiles;

  // shared memory, in floats
  static constexpr int kTile = kRows * kRowStride<kWidth>;
  static constexpr int kWeights = 2 * kTile + kRows * kWidth;
  static constexpr int kNormalizers = kWeights + kRows * kWeightStride;
  static constexpr int kTables = kNormalizers + kThreads;
  static constexpr size_t kSharedBytes = kTables * sizeof(float) + 2 * sizeof(RowTable);
  static_assert(kSharedBytes <= kMostSharedBytes);

  template <class Block>
  COSDT_DEVICE void operator()(const Block& block, int index, float* shared) const {
    const CausalSum& sum = sums[index / tiles];
    const int query_begin = index % tiles * kRows;
    float* const query = shared;
    float* const key = shared + kTile;
    float* const value = shared + 2 * kTile;
    float* const weights = shared + kWeights;
    float* const normalizers = shared + kNormalizers;
    RowTable& queries = *reinterpret_cast<RowTable*>(shared + kTables);
    RowTable& keys = *(&queries + 1);
    typename Block::template PerThread<Accumulator<kWidth>> accumulator;
    const int first_head = query_begin / shape.length * shape.length;
    block.ForThreads([&](int t) {
      IndexRows(t, shape, sum.reversed, query_begin, shape.rows, queries);
      accumulator[t].Clear();
      normalizers[t] = 0;
    });
    for (int key_begin = first_head / kRows * kRows; key_begin <= query_begin; key_begin += kRows) {
      block.ForThreads([&](int t) {
        IndexRows(t, shape, sum.reversed, key_begin, shape.rows, keys);
        if (key_begin > first_head / kRows * kRows) return;
        LoadTile<kWidth, kRowStride<kWidth>>(t, sum.query, queries, 0, query);
      });
      block.ForThreads([&](int t) {
        LoadTile<kWidth, kRowStride<kWidth>>(t, sum.key, keys, 0, key);
        LoadTile<kWidth, kWidth>(t, sum.value, keys, 0, value);
      });
      block.ForThreads([&](int t) {
        ComputeWeights<kWidth>(t, query, key, sum.extra, queries, query_begin, keys, key_begin,
                               weights);
      });
      block.ForThreads([&](int t) {
        AddWeighted(t, weights, value, queries, query_begin, key_begin, accumulator[t]);
        if (sum.is_output) normalizers[t] += SumWeights(t, weights);
      });
    }
    block.ForThreads(
        [&](int t) { StoreTile<kWidth>(t, shape, sum, queries, normalizers, 0, accumulator[t]); });
  }
};

// Chunks of kRows with a state between them: a block goes through one segment of one head and has
// kColumns of its value's columns.
template <int kWidth, int kParts>
struct ChunkKernel {
  Shape shape;
  CausalSum sums[kMostSums];
  int segments, chunks_per_segment;
  bool only_states;  // what each segment adds to the state, and nothing else
  float* states;     // [sums, heads, slices, segments, kState]; null with one segment

  static constexpr int kColumns = kWidth < 64 ? kWidth : 64;
  static constexpr int kSlices = kWidth / kColumns;
  static constexpr int kState = State<kWidth, kColumns, kParts>::kSize;

  // shared memory, in floats
  static constexpr int kTile = kRows * kRowStride<kWidth>;
  static constexpr int kWeights = 2 * kTile + kRows * kColumns;
  static constexpr int kNormalizers = kWeights + kRows * kWeightStride;
  static constexpr int kStateBegin = kNormalizers + kThreads;
  static constexpr int kTable = kStateBegin + kState;
  static constexpr size_t kSharedBytes = kTable * sizeof(float) + sizeof(RowTable);
  static_assert(kSharedBytes <= kMostSharedBytes);

  template <class Block>
  COSDT_DEVICE void operator()(const Block& block, int index, float* shared) const {
    const int segment = index % segments, slice = index / segments % kSlices;
    const int item = index / segments / kSlices;
    const int heads = shape.rows / shape.length;
    const CausalSum& sum = sums[item / heads];
    const int head_begin = item % heads * shape.length, head_end = head_begin + shape.length;
    const int begin = head_begin + segment * chunks_per_segment * kRows;
    const int end = Min(begin + chunks_per_segment * kRows, head_end);
    const int first_column = slice * kColumns;
    float* const query = shared;
    float* const key = shared + kTile;
    float* const value = shared + 2 * kTile;
    float* const weights = shared + kWeights;
    float* const normalizers = shared + kNormalizers;
    float* const state = shared + kStateBegin;
    RowTable& rows = *reinterpret_cast<RowTable*>(shared + kTable);
    float* const kept = states + static_cast<ptrdiff_t>(index) * kState;
    block.ForThreads([&](int t) {
      for (int e = t; e < kState; e += kThreads) state[e] = states && !only_states ? kept[e] : 0;
    });
    for (int chunk = begin; chunk < end; chunk += kRows) {
      block.ForThreads([&](int t) { IndexRows(t, shape, sum.reversed, chunk, head_end, rows); });
      block.ForThreads([&](int t) {
        if (!only_states) LoadTile<kWidth, kRowStride<kWidth>>(t, sum.query, rows, 0, query);
        LoadTile<kWidth, kRowStride<kWidth>>(t, sum.key, rows, 0, key);
        LoadTile<kColumns, kColumns>(t, sum.value, rows, first_column, value);
      });
      if (!only_states) {
        block.ForThreads([&](int t) {
          ComputeWeights<kWidth>(t, query, key, sum.extra, rows, chunk, rows, chunk, weights);
        });
        block.ForThreads([&](int t) {
          if (!sum.is_output) return;
          normalizers[t] = SumWeights(t, weights) +
                           SumEarlierWeights<kWidth, kColumns, kParts>(t, query, state, rows);
        });
        block.ForThreads([&](int t) {
          Accumulator<kColumns> accumulator;
          accumulator.Clear();
          AddEarlier<kWidth, kColumns, kParts>(t, query, state, sum.extra, rows, accumulator);
          AddWeighted(t, weights, value, rows, chunk, chunk, accumulator);
          StoreTile<kColumns>(t, shape, sum, rows, normalizers, first_column, accumulator);
        });
      }
      if (!only_states && chunk + kRows >= end) break;  // the state is not needed any more
      block.ForThreads(
          [&](int t) { AddToState<kWidth, kColumns, kParts>(t, sum, key, value, rows, state); });
    }
    if (!only_states) return;
    block.ForThreads([&](int t) {
      for (int e = t; e < kState; e += kThreads) kept[e] = state[e];
    });
  }
};

// What segments add becomes what stood before each of them.
struct AccumulateKernel {
  int segments, size;  // size: of a state
  ptrdiff_t entries;   // of the states of one segment each
  float* states;
  static constexpr size_t kSharedBytes = 0;

  template <class Block>
  COSDT_DEVICE void operator()(const Block& block, int index, float*) const {
    block.ForThreads([&](int t) {
      const ptrdiff_t entry = static_cast<ptrdiff_t>(index) * kThreads + t;
      if (entry >= entries) return;
      float* const first = states + entry / size * size * segments + entry % size;
      float sum = 0;
      for (int s = 0; s < segments; ++s) {
        float& number = first[static_cast<ptrdiff_t>(s) * size];
        const float own = number;
        number = sum;
        sum += own;
      }
    });
  }
};

// d of all rows: -(g . o) / D, or 0 where D is clamped.
struct DeltaKernel {
  Shape shape;
  Rows out, grad;
  int width;
  float* deltas;
  static constexpr size_t kSharedBytes = sizeof(RowTable) + kThreads * sizeof(float);

  template <class Block>
  COSDT_DEVICE void operator()(const Block& block, int index, float* shared) const {
    float* const parts = shared;
    RowTable& rows = *reinterpret_cast<RowTable*>(shared + kThreads);
    block.ForThreads([&](int t) { IndexRows(t, shape, false, index * kRows, shape.rows, rows); });
    block.ForThreads([&](int t) {
      const int row = t / kNormalizerParts;
      float sum = 0;
      if (rows.token[row] >= 0) {
        const ptrdiff_t o = Offset(out.array, rows, row), g = Offset(grad.array, rows, row);
        for (int p = t % kNormalizerParts * 4; p < width; p += kNormalizerParts * 4) {
          const Vector4 a = Load4(out, o, p), b = Load4(grad, g, p);
          COSDT_UNROLL for (int i = 0; i < 4; ++i) sum += a.x[i] * b.x[i];
        }
      }
      parts[t] = sum;
    });
    block.ForThreads([&](int t) {
      const int row = index * kRows + t;
      if (t >= kRows || row >= shape.rows) return;
      float four[kNormalizerParts];
      Read(parts + t * kNormalizerParts, four);
      const float dot = (four[0] + four[1]) + (four[2] + four[3]);
      const float normalizer = shape.normalizer[row];
      deltas[row] = normalizer >= shape.eps ? -Reciprocal(shape, normalizer) * dot : 0;
    });
  }
};

// How a pass is cut, by its shape alone.
struct Cut {
  bool quadratic = true;
  int segments = 1, chunks_per_segment = 1;
};

// The rows of an array of `width` columns that kernels read as they are.
inline Rows RowsOf(const Problem& problem, const Array& array) {
  Rows rows{.array = array, .bfloat16 = problem.type == Type::kBFloat16};
  const size_t bytes = rows.bfloat16 ? sizeof(HalfVector4) : sizeof(Vector4);
  rows.aligned = reinterpret_cast<uintptr_t>(array.data) % bytes == 0 && array.batch % 4 == 0 &&
                 array.head % 4 == 0 && array.token % 4 == 0;
  return rows;
}

inline int64_t SumsOf(Pass pass) { return pass == Pass::kForward ? 1 : 3; }

inline int64_t SlicesOf(int64_t width) { return width <= 64 ? 1 : width / 64; }

// Numbers in the state of one slice.
inline int64_t StateSize(const Problem& problem) {
  const int64_t columns = problem.width / SlicesOf(problem.width);
  return (problem.reweight_length > 0 ? 2 : 1) *
         (problem.width * columns + columns + problem.width);
}

inline Cut MakeCut(const Problem& problem, Pass pass) {
  // the crossing of the operations of both forms: 2 L d and 8 d² + 4 C d (without M 4 d²)
  const int64_t limit = (problem.reweight_length > 0 ? 4 : 2) * problem.width + 2 * kRows;
  constexpr int64_t kEnoughBlocks = 256;  // for the devices of today
  constexpr int64_t kLeastChunks = 8;     // of a segment, which costs a state to write and to read
  if (problem.length <= limit) return {};
  const int64_t chunks = (problem.length + kRows - 1) / kRows;
  const int64_t blocks = SumsOf(pass) * problem.batch * problem.heads * SlicesOf(problem.width);
  const int64_t wanted = std::min((kEnoughBlocks + blocks - 1) / blocks, chunks / kLeastChunks);
  const int64_t chunks_per_segment =
      (chunks + std::max<int64_t>(wanted, 1) - 1) / std::max<int64_t>(wanted, 1);
  return {.quadratic = false,
          .segments = static_cast<int>((chunks + chunks_per_segment - 1) / chunks_per_segment),
          .chunks_per_segment = static_cast<int>(chunks_per_segment)};
}

// Workspace, in floats: d of all rows, and the states of all segments.
inline int64_t DeltasSize(const Problem& problem, Pass pass) {
  if (pass == Pass::kForward || !problem.normalize) return 0;
  return problem.batch * problem.heads * problem.length;
}
inline int64_t StatesSize(const Problem& problem, Pass pass, const Cut& cut) {
  if (cut.segments == 1) return 0;
  return SumsOf(pass) * problem.batch * problem.heads * SlicesOf(problem.width) * cut.segments *
         StateSize(problem);
}

inline Shape MakeShape(const Problem& problem) {
  Shape shape;
  shape.heads = static_cast<int>(problem.heads);
  shape.length = static_cast<int>(problem.length);
  shape.rows = static_cast<int>(problem.batch * problem.heads * problem.length);
  if (problem.reweight_length > 0) {
    shape.half_turns = 0.5 / static_cast<double>(problem.reweight_length);
  }
  shape.mask = problem.mask;
  shape.normalize = problem.normalize;
  shape.eps = static_cast<float>(problem.eps);
  shape.normalizer = static_cast<float*>(problem.normalizer);
  return shape;
}

// The sums of a pass (CausalSum's table).
inline void MakeSums(const Problem& problem, Pass pass, CausalSum (&sums)[kMostSums]) {
  const auto rows = [&](const Array& array, bool features, bool masked, bool scaled) {
    Rows r = RowsOf(problem, array);
    if (features) r.features = problem.features;
    r.masked = masked && problem.mask;
    r.scaled = scaled && problem.normalize;
    return r;
  };
  const Rows q = rows(problem.q, true, false, false), k = rows(problem.k, true, true, false),
             v = rows(problem.v, false, true, false);
  if (pass == Pass::kForward) {
    sums[0] = {.query = q,
               .key = k,
               .value = v,
               .is_output = true,
               .out = rows(problem.out, false, false, false)};
    return;
  }
  const Rows g = rows(problem.grad_out, false, false, true);
  const bool normalize = problem.normalize;
  sums[0] = {.query = g,
             .key = v,
             .value = k,
             .extra = normalize ? Extra::kOfQuery : Extra::kNone,
             .slope = q,
             .out = rows(problem.grad_q, false, false, false)};
  sums[1] = {.query = v,
             .key = g,
             .value = q,
             .extra = normalize ? Extra::kOfKey : Extra::kNone,
             .reversed = true,
             .slope = k,
             .out = rows(problem.grad_k, false, true, false)};
  sums[2] = {.query = k,
             .key = q,
             .value = g,
             .reversed = true,
             .out = rows(problem.grad_v, false, true, false)};
}

// Launches a pass: launch(kernel, blocks) runs a functor above.
template <int kWidth, int kParts, class Launch>
void RunChunks(const Problem& problem, Pass pass, const Cut& cut, const Shape& shape,
               const CausalSum (&sums)[kMostSums], float* states, const Launch& launch) {
  using Kernel = ChunkKernel<kWidth, kParts>;
  Kernel kernel{.shape = shape,
                .sums = {sums[0], sums[1], sums[2]},
                .segments = cut.segments,
                .chunks_per_segment = cut.chunks_per_segment,
                .only_states = cut.segments > 1,
                .states = cut.segments > 1 ? states : nullptr};
  const int64_t items = SumsOf(pass) * problem.batch * problem.heads * Kernel::kSlices;
  if (cut.segments > 1) {
    launch(kernel, items * cut.segments);
    const int64_t entries = items * Kernel::kState;
    launch(AccumulateKernel{cut.segments, Kernel::kState, entries, states},
           (entries + kThreads - 1) / kThreads);
    kernel.only_states = false;
  }
  launch(kernel, items * cut.segments);
}

template <int kWidth, class Launch>
void RunWidth(const Problem& problem, Pass pass, const Cut& cut, float* workspace,
              const Launch& launch) {
  Shape shape = MakeShape(problem);
  CausalSum sums[kMostSums];
  MakeSums(problem, pass, sums);
  const int tiles = (shape.rows + kRows - 1) / kRows;
  const int64_t deltas = DeltasSize(problem, pass);
  if (deltas > 0) {
    launch(DeltaKernel{shape, RowsOf(problem, problem.out), RowsOf(problem, problem.grad_out),
                       kWidth, workspace},
           tiles);
    shape.deltas = workspace;
  }
  if (cut.quadratic) {
    launch(QuadraticKernel<kWidth>{shape, {sums[0], sums[1], sums[2]}, tiles},
           SumsOf(pass) * tiles);
  } else if (problem.reweight_length > 0) {
    RunChunks<kWidth, 2>(problem, pass, cut, shape, sums, workspace + deltas, launch);
  } else {
    RunChunks<kWidth, 1>(problem, pass, cut, shape, sums, workspace + deltas, launch);
  }
}

template <class Launch>
void RunPass(const Problem& problem, Pass pass, const Cut& cut, float* workspace,
             const Launch& launch) {
  if (problem.width == 16) RunWidth<16>(problem, pass, cut, workspace, launch);
  if (problem.width == 32) RunWidth<32>(problem, pass, cut, workspace, launch);
  if (problem.width == 64) RunWidth<64>(problem, pass, cut, workspace, launch);
  if (problem.width == 128) RunWidth<128>(problem, pass, cut, workspace, launch);
}

}  // namespace cosdt::attention::kernels::cuda
