// The CUDA kernels of the update, compiled for the host and run thread by thread: they compute what
// the CPU's operations do, whatever order the threads run in.
#include <gtest/gtest.h>
#include <torch/library.h>
#include <torch/torch.h>

#include <cmath>
#include <cstring>

#include "agents/training/update_check.h"
#include "agents/training/update_ops_binding.h"
#include "attention/cuda_host_threads.h"
#include "tests/agents/training/small_training.h"
#include "tests/attention/warp_emulator.h"

namespace cosdt::agents::kernels {
namespace {

namespace host = attention::kernels::cuda::host;

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned a = 1, unsigned b = 1) : x(a), y(b) {}
};
struct float4 {
  float x, y, z, w;
};
struct uint2 {
  unsigned x, y;
};
[[maybe_unused]] float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
[[maybe_unused]] uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }

struct __nv_bfloat16 {
  uint16_t bits;
};
struct __nv_bfloat162 {
  __nv_bfloat16 low, high;
};
float __uint_as_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
float __bfloat162float(__nv_bfloat16 x) {
  return __uint_as_float(static_cast<unsigned>(x.bits) << 16);
}
__nv_bfloat16 __float2bfloat16_rn(float x) { return {c10::BFloat16(x).x}; }
__nv_bfloat162 __floats2bfloat162_rn(float low, float high) {
  return {__float2bfloat16_rn(low), __float2bfloat16_rn(high)};
}
double __longlong_as_double(long long bits) {
  double x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

dim3 block_index, grid_size, block_size;
host::Order order = host::Order::kUp;

dim3 ThreadIndex() {
  const auto index = static_cast<unsigned>(host::Current().index);
  return {index % block_size.x, index / block_size.x};
}

void SyncThreads() {
  host::Block([](const host::Arrivals&) {}, nullptr);
}

template <class T>
T ShuffleXor(T x, int lanes) {
  struct Mine {
    T value;
    int lanes;
  } mine{x, lanes};
  host::Warp(
      [](const host::Arrivals& arrivals) {
        T values[32];
        for (size_t i = 0; i < 32; ++i) values[i] = static_cast<Mine*>(arrivals[i])->value;
        for (size_t i = 0; i < 32; ++i) {
          auto& of_lane = *static_cast<Mine*>(arrivals[i]);
          of_lane.value = values[i ^ static_cast<size_t>(of_lane.lanes)];
        }
      },
      &mine);
  return mine.value;
}

unsigned atomicInc(unsigned* at, unsigned most) {
  const unsigned before = *at;
  *at = before >= most ? 0 : before + 1;
  return before;
}
void __threadfence() {}

float* SharedFloats() {
  alignas(16) static float floats[16 * 1024];
  return floats;
}

template <class... Parameters, class... Arguments>
void Launch(void (*kernel)(Parameters...), dim3 blocks, dim3 threads, size_t shared_bytes,
            CUstream_st*, const Arguments&... arguments) {
  grid_size = blocks;
  block_size = threads;
  for (unsigned y = 0; y < blocks.y; ++y) {
    for (unsigned x = 0; x < blocks.x; ++x) {
      block_index = {x, y};
      std::memset(SharedFloats(), 0xff, shared_bytes);  // NaNs
      host::RunBlock(static_cast<int>(threads.x * threads.y), order, [&] { kernel(arguments...); });
    }
  }
}

enum { cudaDevAttrMultiProcessorCount };
void cudaGetDevice(int* device) { *device = 0; }
void cudaDeviceGetAttribute(int* processors, int, int) { *processors = 2; }

using std::isfinite;
using std::max;
using std::min;

}  // namespace
}  // namespace cosdt::agents::kernels

#define __global__
#define __device__
#define __shared__ static
#define threadIdx ThreadIndex()
#define blockIdx block_index
#define blockDim block_size
#define gridDim grid_size
#define __syncthreads SyncThreads
#define __shfl_xor_sync(mask, x, lanes) ShuffleXor(x, lanes)
#define Run RunEmulated  // a build with CUDA has the kernels themselves, too
#define COSDT_UNROLL
#define COSDT_UNROLL_4
#include "agents/training/update_kernels.cu"
#undef Run
#undef __global__
#undef __device__
#undef __shared__

namespace cosdt::agents {
namespace {

struct Emulated {
  template <class Op>
  static void Launch(const Op& op, const torch::Tensor&) {
    kernels::RunEmulated(op, nullptr);
  }
};

// While it lives, the CPU's operations are the emulated kernels.
class Emulation {
 public:
  explicit Emulation(kernels::host::Order order) {
    kernels::order = order;
    update_ops::Binding<Emulated>::Register(library_);
  }

 private:
  torch::Library library_{torch::Library::IMPL, "cosdt", c10::DispatchKey::CPU, __FILE__, __LINE__};
};

TEST(UpdateEmulationTest, KernelsComputeWhatTheCpuDoes) {
  const auto expected = RunUpdateOps(torch::kCPU);
  for (const auto order : {kernels::host::Order::kUp, kernels::host::Order::kShuffled}) {
    const Emulation emulation(order);
    EXPECT_EQ(CompareUpdateOps(RunUpdateOps(torch::kCPU), expected), "");
  }
}

TEST(UpdateEmulationTest, TrainsAsAutogradDoes) {
  const datasets::Episodes episodes = MakeEpisodes();
  AgentOptions options = SmallAgent("dt");
  options.dt.max_timestep = 12;
  const auto make = [&](UpdatePath path) {
    torch::manual_seed(11);
    return std::make_unique<Trainer>(MakeAgent(options), episodes,
                                     datasets::MakeNormalizer(episodes), FastTraining(), path);
  };
  const auto a = make(UpdatePath::kExplicit), b = make(UpdatePath::kAutograd);
  const auto expected = b->Update(3);
  const Emulation emulation(kernels::host::Order::kDown);
  const auto found = a->Update(3);
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_NEAR(found[i].loss, expected[i].loss, 1e-5 * expected[i].loss);
    EXPECT_NEAR(found[i].gradient_norm, expected[i].gradient_norm,
                1e-4 * expected[i].gradient_norm);
  }
}

}  // namespace
}  // namespace cosdt::agents
