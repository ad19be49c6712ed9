// A pass over a problem as launches of kernels: what the sums are, how they are cut into blocks,
// and the two small kernels besides them. Launching is the caller's: a device's, or a test's on the
// host.
#pragma once

#include <algorithm>

#include "attention/cuda_causal_sum.cuh"

namespace cosdt::attention::kernels::cuda {

struct Grid {
  int64_t x = 1, y = 1, z = 1;
};

// d of every row: -r g . o, and 0 if the normalizer is clamped. `lanes` neighboring threads
// share a row, and each has kRowsPerThread of them.
template <class T>
struct DeltaKernel {
  static constexpr int kThreads = 256, kSharedBytes = 0, kBlocksAMultiprocessor = 3;
  static constexpr int kRowsPerThread = 4;

  Array out, grad;
  int width = 0, heads = 1, length = 1;
  int lanes = 32;  // a power of two
  int blocks = 1;  // of a head
  float eps = 0;
  const float* normalizer = nullptr;
  float* deltas = nullptr;

  COSDT_DEVICE void operator()(const Grid& block, const Grid&, unsigned char*) const {
    const int lane = ThreadIndex() % lanes, row = ThreadIndex() / lanes;
    const int item = static_cast<int>(block.x), head = item / blocks;
    const int rows = kThreads / lanes, first = item % blocks * rows * kRowsPerThread;
    const int batch = head / heads, of_batch = head % heads;
    const auto place = [&](const Array& array, int token) {
      return static_cast<const T*>(array.data) + batch * array.batch + of_batch * array.head +
             token * array.token + lane * kVector<T>;
    };
    Vector o[kRowsPerThread] = {}, g[kRowsPerThread] = {};
    COSDT_UNROLL for (int i = 0; i < kRowsPerThread; ++i) {
      const int token = first + i * rows + row;
      if (token >= length || lane * kVector<T> >= width) continue;
      o[i] = LoadVector(place(out, token));
      g[i] = LoadVector(place(grad, token));
    }
    COSDT_UNROLL for (int i = 0; i < kRowsPerThread; ++i) {
      float sum = 0;
      COSDT_UNROLL for (int j = 0; j < 4; ++j) AddDot(T{}, sum, o[i].words[j], g[i].words[j]);
      for (int distance = 1; distance < lanes; distance *= 2) sum += ShuffleXor(sum, distance);
      const int token = first + i * rows + row;
      if (lane != 0 || token >= length) continue;
      const ptrdiff_t to = static_cast<ptrdiff_t>(head) * length + token;
      deltas[to] = normalizer[to] < eps ? 0 : -sum / normalizer[to];
    }
  }
};

// Turns each segment's contribution to the state into the state before it; one thread per entry.
struct ScanKernel {
  static constexpr int kThreads = 256, kSharedBytes = 0, kBlocksAMultiprocessor = 4;
  static constexpr int kAtOnce = 8;

  int segments = 1;
  int64_t values = 0;  // of a state
  float* states = nullptr;

  COSDT_DEVICE void operator()(const Grid& block, const Grid&, unsigned char*) const {
    const int64_t entry = block.x * kThreads + ThreadIndex();
    if (entry >= values) return;
    float* place = states + block.y * segments * values + entry;
    float sum = 0;
    for (int first = 0; first < segments; first += kAtOnce) {
      float added[kAtOnce];
      COSDT_UNROLL for (int i = 0; i < kAtOnce; ++i) {
        // the last segment's is not there
        added[i] = first + i + 1 < segments ? place[i * values] : 0;
      }
      COSDT_UNROLL for (int i = 0; i < kAtOnce; ++i) {
        if (first + i < segments) place[i * values] = sum;
        sum += added[i];
      }
      place += kAtOnce * values;
    }
  }
};

template <class Products, int kWidth, Task kTask, bool kIsOutput,
          int kColumns = kWidth == 32 ? 32 : 64>
struct SumsKernel {
  using T = typename Products::Value;
  using Sum = CausalSumKernel<Products, kWidth, kColumns, kTask, kIsOutput>;
  static constexpr int kThreads = Sum::kThreads, kSharedBytes = Sum::kSharedBytes;
  static constexpr int kStateValues = Sum::kStateValues * kThreads;
  static constexpr int kBlocksAMultiprocessor =
      sizeof(T) == 2 ? (kWidth == 32                               ? 3
                        : kWidth == 64 || kTask == Task::kOneChunk ? 2
                                                                   : 1)
                     : (kWidth == 32 ? 2 : 1);

  PassArguments pass;

  COSDT_DEVICE void operator()(const Grid& block, const Grid& grid, unsigned char* shared) const {
    Sum sum(pass, static_cast<int>(block.x), static_cast<int>(block.y), static_cast<int>(block.z),
            shared, static_cast<int>(grid.x), static_cast<int>(grid.y));
    sum.Run();
  }
};

// Whether the kernels' 32 bits hold an array's strides in bytes.
inline bool HasShortStrides(const Array& array) {
  constexpr ptrdiff_t kMax = (ptrdiff_t{1} << 31) / 4 - 1;
  const auto is_short = [](ptrdiff_t x) { return x <= kMax && x >= -kMax; };
  return is_short(array.batch) && is_short(array.head) && is_short(array.token);
}

// How heads are cut into segments, whose states are added up first.
struct Cut {
  int segments = 1, chunks_per_segment = 1;
};

// The widths of queries and values of a pass's sums: its kernels are made for 32, 64 and 128.
inline int WidthOf(const Problem& problem) {
  const int64_t width = std::max(problem.width, problem.value_width);
  return width <= 32 ? 32 : width <= 64 ? 64 : 128;
}
inline int SumsOf(Pass pass) { return pass == Pass::kForward ? 1 : kMaxSums; }
inline int64_t ChunksOf(const Problem& problem) { return (problem.length + kChunk - 1) / kChunk; }

// Slices of the columns of value.
inline int64_t SlicesOf(const Problem& problem, Pass pass) {
  const int columns = WidthOf(problem) == 32 ? 32 : 64;
  const int64_t widest =
      pass == Pass::kForward ? problem.value_width : std::max(problem.width, problem.value_width);
  return (widest + columns - 1) / columns;
}

// The sizes that kernels are made for.
template <class Products_, int kWidth_>
struct Made {
  using Products = Products_;
  static constexpr int kWidth = kWidth_;
};

// visit(Made<..>{}) for the kernels that a problem takes.
template <class Products, class Visit>
auto ForWidths(const Problem& problem, const Visit& visit) {
  const int width = WidthOf(problem);
  return width == 32   ? visit(Made<Products, 32>{})
         : width == 64 ? visit(Made<Products, 64>{})
                       : visit(Made<Products, 128>{});
}
template <class Visit>
auto ForKernels(const Problem& problem, const Visit& visit) {
  if (problem.type == Type::kBFloat16) return ForWidths<BFloat16Products>(problem, visit);
  return problem.one_product ? ForWidths<Tf32Products>(problem, visit)
                             : ForWidths<Float32Products>(problem, visit);
}

// Bytes of shared memory that the kernels of a problem take at most.
inline int SharedBytes(const Problem& problem) {
  return ForKernels(problem, [&](auto made) {
    using Products = typename decltype(made)::Products;
    constexpr int kWidth = made.kWidth;
    return ChunksOf(problem) == 1
               ? SumsKernel<Products, kWidth, Task::kOneChunk, true, kWidth>::kSharedBytes
               : SumsKernel<Products, kWidth, Task::kManyChunks, true>::kSharedBytes;
  });
}

constexpr int64_t kMultiprocessors = 128;  // about as many as the devices of today have

// By the shape alone, so that bits repeat.
inline Cut MakeCut(const Problem& problem, Pass pass) {
  constexpr int64_t kMinChunks = 4;  // of a segment, which costs a state to write and to read
  const int64_t chunks = ChunksOf(problem);
  const int64_t blocks = SumsOf(pass) * problem.batch * problem.heads * SlicesOf(problem, pass);
  const int64_t enough =
      kMultiprocessors * ForKernels(problem, [](auto made) {
        using Kernel =
            SumsKernel<typename decltype(made)::Products, made.kWidth, Task::kManyChunks, true>;
        return int64_t{Kernel::kBlocksAMultiprocessor};
      });
  const int64_t wanted =
      std::clamp<int64_t>(enough / blocks, 1, std::max<int64_t>(chunks / kMinChunks, 1));
  const int64_t each = (chunks + wanted - 1) / wanted;
  return {static_cast<int>((chunks + each - 1) / each), static_cast<int>(each)};
}

// Workspace in floats: d of all rows, rounded up to 16 bytes, and the states of all segments.
inline int64_t DeltasSize(const Problem& problem, Pass pass) {
  if (pass == Pass::kForward || !problem.normalize) return 0;
  return (problem.batch * problem.heads * problem.length + 3) / 4 * 4;
}

template <class Products, int kWidth>
int64_t StatesSize(const Problem& problem, Pass pass, const Cut& cut) {
  if (cut.segments == 1) return 0;
  return SumsOf(pass) * SlicesOf(problem, pass) * problem.batch * problem.heads * cut.segments *
         SumsKernel<Products, kWidth, Task::kStates, true>::kStateValues;
}

// The sums of a pass (CausalSum's table).
inline void MakeSums(const Problem& problem, Pass pass, CausalSum (&sums)[kMaxSums]) {
  const int bytes = problem.type == Type::kBFloat16 ? 2 : 4;
  const auto rows = [&](const Array& array, int64_t width, bool features, bool masked) {
    return Rows{static_cast<char*>(array.data),
                static_cast<int>(array.batch) * bytes,
                static_cast<int>(array.head) * bytes,
                static_cast<int>(array.token) * bytes,
                static_cast<int>(width),
                features ? problem.features : Features::kIdentity,
                masked && problem.mask};
  };
  const Rows q = rows(problem.q, problem.width, true, false),
             k = rows(problem.k, problem.width, true, true),
             v = rows(problem.v, problem.value_width, false, true);
  if (pass == Pass::kForward) {
    sums[0].query = q;
    sums[0].key = k;
    sums[0].value = v;
    sums[0].out = rows(problem.out, problem.value_width, false, false);
    return;
  }
  const Rows g = rows(problem.grad_out, problem.value_width, false, false);
  const bool normalize = problem.normalize;
  sums[0].query = g;
  sums[0].key = v;
  sums[0].value = k;
  sums[0].extra = normalize ? Extra::kOfQuery : Extra::kNone;
  sums[0].scales_query = normalize;
  sums[0].slope = q;
  sums[0].out = rows(problem.grad_q, problem.width, false, false);
  sums[1].query = v;
  sums[1].key = g;
  sums[1].value = q;
  sums[1].extra = normalize ? Extra::kOfKey : Extra::kNone;
  sums[1].scales_key = normalize;
  sums[1].reversed = true;
  sums[1].slope = k;
  sums[1].out = rows(problem.grad_k, problem.width, false, true);
  sums[2].query = k;
  sums[2].key = q;
  sums[2].value = g;
  sums[2].scales_key = normalize;
  sums[2].reversed = true;
  sums[2].out = rows(problem.grad_v, problem.value_width, false, true);
}

inline PassArguments MakePass(const Problem& problem, Pass pass, const Cut& cut) {
  PassArguments all;
  MakeSums(problem, pass, all.sums);
  all.heads = static_cast<int>(problem.heads);
  all.length = static_cast<int>(problem.length);
  if (problem.reweight_length > 0) {
    all.half_turns = static_cast<float>(0.5 / static_cast<double>(problem.reweight_length));
  }
  all.mask = problem.mask;
  all.normalize = problem.normalize;
  all.eps = static_cast<float>(problem.eps);
  all.normalizer = static_cast<float*>(problem.normalizer);
  all.segments = cut.segments;
  all.chunks_per_segment = cut.chunks_per_segment;
  return all;
}

template <class Products, int kWidth, bool kIsOutput, class Launch>
void LaunchSums(const Problem& problem, Pass pass, const Cut& cut, PassArguments& all,
                float* states, const Launch& launch) {
  const int64_t heads = problem.batch * problem.heads, slices = SlicesOf(problem, pass);
  const Grid grid{heads * cut.segments, slices, SumsOf(pass)};
  if (ChunksOf(problem) == 1) {
    // if there are enough blocks, all columns in one, which computes its scores once
    if (kWidth == 128 && slices == 2 && grid.x * grid.y * grid.z > 2 * kMultiprocessors) {
      launch(SumsKernel<Products, kWidth, Task::kOneChunk, kIsOutput, kWidth>{all},
             Grid{grid.x, 1, grid.z});
    } else {
      launch(SumsKernel<Products, kWidth, Task::kOneChunk, kIsOutput>{all}, grid);
    }
    return;
  }
  if (cut.segments > 1) {
    all.states = states;
    using States = SumsKernel<Products, kWidth, Task::kStates, kIsOutput>;
    launch(States{all}, grid);
    if (cut.segments > kMaxUnscanned) {
      launch(ScanKernel{cut.segments, States::kStateValues, states},
             Grid{(States::kStateValues + ScanKernel::kThreads - 1) / ScanKernel::kThreads,
                  SumsOf(pass) * slices * heads});
    }
  }
  launch(SumsKernel<Products, kWidth, Task::kManyChunks, kIsOutput>{all}, grid);
}

// Launches a pass: launch(kernel, grid) runs a functor above.
template <class Products, int kWidth, class Launch>
void RunWidth(const Problem& problem, Pass pass, const Cut& cut, float* workspace,
              const Launch& launch) {
  PassArguments all = MakePass(problem, pass, cut);
  const int64_t heads = problem.batch * problem.heads, deltas = DeltasSize(problem, pass);
  if (deltas > 0) {
    using T = typename Products::Value;
    DeltaKernel<T> kernel;
    kernel.out = problem.out;
    kernel.grad = problem.grad_out;
    kernel.width = static_cast<int>(problem.value_width);
    kernel.heads = all.heads;
    kernel.length = all.length;
    kernel.eps = all.eps;
    kernel.normalizer = all.normalizer;
    kernel.deltas = workspace;
    kernel.lanes = 1;
    while (kernel.lanes * kVector<T> < problem.value_width) kernel.lanes *= 2;
    const int rows = kernel.kThreads / kernel.lanes * kernel.kRowsPerThread;
    kernel.blocks = (all.length + rows - 1) / rows;
    launch(kernel, Grid{heads * kernel.blocks});
    all.deltas = workspace;
  }
  if (pass == Pass::kForward) {
    LaunchSums<Products, kWidth, true>(problem, pass, cut, all, workspace + deltas, launch);
  } else {
    LaunchSums<Products, kWidth, false>(problem, pass, cut, all, workspace + deltas, launch);
  }
}

// Floats of workspace that a pass needs.
inline int64_t WorkspaceSize(const Problem& problem, Pass pass, const Cut& cut) {
  return DeltasSize(problem, pass) + ForKernels(problem, [&](auto made) {
           return StatesSize<typename decltype(made)::Products, made.kWidth>(problem, pass, cut);
         });
}

template <class Launch>
void RunPass(const Problem& problem, Pass pass, const Cut& cut, float* workspace,
             const Launch& launch) {
  ForKernels(problem, [&](auto made) {
    RunWidth<typename decltype(made)::Products, made.kWidth>(problem, pass, cut, workspace, launch);
  });
}

}  // namespace cosdt::attention::kernels::cuda
