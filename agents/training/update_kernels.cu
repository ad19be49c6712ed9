#include "agents/training/update_kernels.h"

#include <algorithm>
#include <type_traits>

#include "agents/training/update_adamw.cuh"
#include "agents/training/update_embed.cuh"
#include "agents/training/update_head.cuh"
#include "agents/training/update_norm.cuh"

namespace cosdt::agents::kernels {
namespace {

int64_t Blocks(int64_t items, int64_t each) { return (items + each - 1) / each; }

// Blocks of a kernel that walks over its items: a few for every multiprocessor.
int WalkBlocks(int64_t wanted) {
  static thread_local int device = -1, processors = 0;
  int current = 0;
  cudaGetDevice(&current);
  if (current != device) {
    cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, current);
    device = current;
  }
  return static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(wanted, 16L * processors)));
}

bool Aligned(const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; }

template <class... Arrays>
bool VectorsFit(int64_t width, const Arrays*... arrays) {
  return width % kGroup == 0 && (... && (arrays == nullptr || Aligned(arrays)));
}

template <int kGroups>
using Groups = std::integral_constant<int, kGroups>;

// body(a T, Groups<as many as the width needs>, whether vectors fit)
template <class Body>
void Choose(bool bfloat16, int64_t width, bool vector, const Body& body) {
  const auto with_groups = [&](auto type, auto fits) {
    const int64_t needed = Blocks(width, kLanes * kGroup);
    if (needed <= 1) return body(type, Groups<1>(), fits);
    if (needed <= 2) return body(type, Groups<2>(), fits);
    return body(type, Groups<kMaxColumns / (kLanes * kGroup)>(), fits);
  };
  const auto with_type = [&](auto type) {
    if (vector) return with_groups(type, std::true_type());
    return with_groups(type, std::false_type());
  };
  if (bfloat16) return with_type(__nv_bfloat16());
  return with_type(float());
}

// Threads of a block that adds up parts: many if registers allow it.
template <int kGroups>
constexpr int kPartThreads = kGroups <= 2 ? 512 : 256;

// Shared memory of such a block.
size_t PartBytes(int threads, int64_t width) {
  return static_cast<size_t>(threads / kLanes * width) * sizeof(float);
}

constexpr int kRowWarps = 4;  // of a block whose warps take a row each

}  // namespace

void Run(const EmbedForward& op, CUstream_st* stream) {
  const int64_t width = op.shape.width;
  const bool vector =
      VectorsFit(width, op.table, op.biases[0], op.biases[1], op.biases[2], op.gamma_0, op.beta_0,
                 op.gamma, op.beta, op.tokens, op.x, static_cast<const float*>(op.y));
  Choose(op.bfloat16, width, vector, [&](auto type, auto groups, auto fits) {
    Launch(EmbedForwardKernel<decltype(type), groups(), fits()>,
           WalkBlocks(Blocks(op.shape.tokens(), kRowWarps)), kRowWarps * kLanes, 0, stream, op);
  });
}

void Run(const EmbedBackward& op, CUstream_st* stream) {
  const int64_t width = op.shape.width;
  const bool vector = VectorsFit(width, op.gamma_0, op.gamma, op.tokens, op.x, op.grad_x,
                                 op.grad_tokens, static_cast<const float*>(op.grad_y));
  Choose(op.bfloat16, width, vector, [&](auto type, auto groups, auto fits) {
    Launch(EmbedBackwardKernel<decltype(type), groups(), fits()>,
           static_cast<unsigned>(op.parts.count), 256, PartBytes(256, width), stream, op);
  });
}

void Run(const EmbedGradients& op, CUstream_st* stream) {
  Launch(EmbedGradientsKernel, static_cast<unsigned>(op.parts.count + op.shape.timestep_limit),
         kTile, 0, stream, op);
}

void Run(const AddNormForward& op, CUstream_st* stream) {
  const bool vector = VectorsFit(op.width, op.x, static_cast<const float*>(op.update), op.gamma,
                                 op.beta, op.sum, static_cast<const float*>(op.y)) &&
                      op.x_stride % kGroup == 0;
  Choose(op.bfloat16, op.width, vector, [&](auto type, auto groups, auto fits) {
    Launch(AddNormForwardKernel<decltype(type), groups(), fits()>,
           WalkBlocks(Blocks(op.rows, kRowWarps)), kRowWarps * kLanes, 0, stream, op);
  });
}

void Run(const Normalize& op, CUstream_st* stream) {
  const bool vector =
      VectorsFit(op.width, op.sum, op.gamma, op.beta, static_cast<const float*>(op.y));
  Choose(op.bfloat16, op.width, vector, [&](auto type, auto groups, auto fits) {
    Launch(NormalizeKernel<decltype(type), groups(), fits()>,
           WalkBlocks(Blocks(op.rows, kRowWarps)), kRowWarps * kLanes, 0, stream, op);
  });
}

void Run(const AddNormBackward& op, CUstream_st* stream) {
  const bool vector = VectorsFit(op.width, op.sum, op.gamma, static_cast<const float*>(op.grad_y),
                                 op.grad_sum, op.grad_x, static_cast<const float*>(op.grad_update));
  Choose(op.bfloat16, op.width, vector, [&](auto type, auto groups, auto fits) {
    Launch(AddNormBackwardKernel<decltype(type), groups(), fits()>,
           static_cast<unsigned>(op.norm.count), kPartThreads<groups()>,
           PartBytes(kPartThreads<groups()>, op.width), stream, op);
  });
}

void Run(const DropRows& op, CUstream_st* stream) {
  const bool vector =
      VectorsFit(op.width, static_cast<const float*>(op.from), static_cast<const float*>(op.to));
  const int blocks = WalkBlocks(Blocks(op.rows * Blocks(op.width, kGroup), kThreads));
  Choose(op.bfloat16, 1, vector, [&](auto type, auto groups, auto fits) {
    if constexpr (groups() == 1) {
      Launch(DropRowsKernel<decltype(type), fits()>, blocks, kThreads, 0, stream, op);
    }
  });
}

void Run(const ColumnSums& op, CUstream_st* stream) {
  const bool vector =
      VectorsFit(op.width, static_cast<const float*>(op.hidden), static_cast<const float*>(op.x));
  const dim3 blocks(static_cast<unsigned>(op.parts.count),
                    static_cast<unsigned>(Blocks(op.width, kLanes * kGroup)));
  Choose(op.bfloat16, 1, vector, [&](auto type, auto groups, auto fits) {
    if constexpr (groups() == 1) {
      Launch(ColumnSumsKernel<decltype(type), fits()>, blocks, dim3(kLanes, kColumnRows), 0, stream,
             op);
    }
  });
}

void Run(const HeadLoss& op, CUstream_st* stream) {
  const bool vector = VectorsFit(op.width, static_cast<const float*>(op.y), op.weight,
                                 static_cast<const float*>(op.grad_y));
  Choose(op.bfloat16, op.width, vector, [&](auto type, auto groups, auto fits) {
    Launch(HeadLossKernel<decltype(type), groups(), fits()>, static_cast<unsigned>(op.parts.count),
           256, static_cast<unsigned>(kHeadRows * op.action_size * sizeof(float)), stream, op);
  });
}

void Run(const SumParts& op, CUstream_st* stream) {
  Launch(SumPartsKernel, static_cast<unsigned>(Blocks(op.columns, kLanes)), dim3(kLanes, kSumRows),
         0, stream, op);
}

void Run(const Squares& op, CUstream_st* stream) {
  Launch(SquaresKernel, static_cast<unsigned>(op.count), kThreads, 0, stream, op);
}

void Run(const AdamWStep& op, CUstream_st* stream) {
  Launch(AdamWKernel, WalkBlocks(Blocks(op.size, kGroup * kThreads)), kThreads, 0, stream, op);
}

}  // namespace cosdt::agents::kernels
