// The CUDA kernels' templates on the host, a block's threads emulated (warp_emulator.h): against
// the CPU kernels in float64, which share no code with them.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "attention/cuda_pass.cuh"
#include "tests/attention/cuda_example.h"
#include "tests/attention/run_grid.h"

namespace cosdt::attention::kernels::cuda {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

using host::Order;

// Runs a pass on the host. Shared memory and workspace hold NaNs before anything is written.
void RunOnHost(const Problem& problem, Pass pass, const Cut& cut, Order order = Order::kUp) {
  std::vector<float> workspace(static_cast<size_t>(WorkspaceSize(problem, pass, cut)), kNan);
  RunPass(problem, pass, cut, workspace.data(), [&](const auto& kernel, const Grid& grid) {
    host::RunGrid(kernel, grid, order, [](const Grid&) { return false; });
  });
}

template <class T>
void RunBoth(Example<T>& x, const Cut& cut, Order order = Order::kUp) {
  const Problem problem = x.MakeProblem();
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) RunOnHost(problem, pass, cut, order);
}

// Sets single values before the run.
template <class T>
using Change = void (*)(Example<T>&);

// A head in the given number of segments.
Cut Segments(int64_t length, int64_t segments = 1) {
  const int64_t chunks = (length + kChunk - 1) / kChunk;
  const int64_t each = (chunks + segments - 1) / segments;
  return {static_cast<int>((chunks + each - 1) / each), static_cast<int>(each)};
}

// The float64 results of the CPU kernels for an example's values.
template <class T>
Example<double> OnCpu(const Case& c, const Example<T>& x) {
  auto expected = x.template As<double>();
  const Problem problem = expected.MakeProblem();
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    Plan(problem, pass).RunHeads(0, c.batch * c.heads);
  }
  return expected;
}

template <class T>
void ExpectMatchesCpuKernels(const Case& c, int64_t segments = 1, Change<T> change = nullptr) {
  SCOPED_TRACE(c.Name() + ", segments " + std::to_string(segments));
  Example<T> found(c);
  if (change) change(found);
  const auto expected = OnCpu(c, found);
  RunBoth(found, Segments(c.length, segments));
  const double tolerance = sizeof(T) == 2 ? 2e-2 : 2e-5;
  EXPECT_LT(LargestError(found.out, expected.out), tolerance);
  EXPECT_LT(LargestError(found.packed_grad, expected.packed_grad), tolerance);
  if (!c.normalize) return;
  EXPECT_LT(LargestError(found.normalizer, expected.normalizer), sizeof(T) == 2 ? 5e-3 : 1e-5);
}

TEST(CudaEmulationTest, MatchesTheCpuKernelsAroundTheBordersOfChunks) {
  for (const int64_t width : {16, 32, 64, 128}) {
    for (const int64_t length : {1, 2, 15, 16, 17, 31, 33, 60, 63, 64, 65, 130}) {
      if (width > 32 && length % 16 == 15) continue;
      const Case c{.length = length, .width = width, .reweight_length = length + length / 2};
      ExpectMatchesCpuKernels<float>(c);
      ExpectMatchesCpuKernels<BFloat16>(c);
    }
  }
}

TEST(CudaEmulationTest, MatchesTheCpuKernelsAtEveryWidth) {
  for (const int64_t width : {8, 24, 40, 48, 80, 96, 120}) {
    const Case c{.heads = 2, .length = 70, .width = width, .reweight_length = 140};
    ExpectMatchesCpuKernels<float>(c);
    if (width >= 16) ExpectMatchesCpuKernels<BFloat16>(c);
  }
  for (const int64_t value_width : {8, 32, 72}) {
    for (const int64_t length : {20, 70}) {
      const Case c{.heads = 2,
                   .length = length,
                   .width = 96,
                   .reweight_length = 140,
                   .value_width = value_width};
      ExpectMatchesCpuKernels<float>(c);
    }
  }
}

TEST(CudaEmulationTest, MatchesTheCpuKernelsWithPadding) {
  for (const int64_t width : {16, 64, 128}) {
    for (const int64_t length : {20, 130}) {
      const Case c{.batch = 2,
                   .heads = 2,
                   .length = length,
                   .width = width,
                   .reweight_length = 2 * length,
                   .features = Features::kEluPlusOne,
                   .masked = true};
      if (width < 128) ExpectMatchesCpuKernels<float>(c);
      ExpectMatchesCpuKernels<BFloat16>(c);
    }
  }
}

TEST(CudaEmulationTest, ManyShortHeadsMatchTheCpuKernels) {
  // so many that a block takes all 128 columns of a head
  const Case c{.batch = 22,
               .heads = 2,
               .length = 5,
               .width = 128,
               .reweight_length = 10,
               .features = Features::kEluPlusOne,
               .masked = true};
  ExpectMatchesCpuKernels<float>(c);
  ExpectMatchesCpuKernels<BFloat16>(c);
}

TEST(CudaEmulationTest, SegmentsMatchTheCpuKernels) {
  for (const int64_t width : {32, 64, 128}) {
    for (const int64_t segments : {2, 3, 5}) {
      for (const int64_t reweight_length : {0, 1000}) {
        if (width == 128 && reweight_length == 0) continue;
        const Case c{.length = 300,
                     .width = width,
                     .reweight_length = reweight_length,
                     .masked = segments == 3};
        ExpectMatchesCpuKernels<float>(c, segments);
        if (segments == 5) ExpectMatchesCpuKernels<BFloat16>(c, segments);
      }
    }
  }
  // so many that they are scanned
  const Case c{.length = 800, .width = 32, .reweight_length = 1000};
  ExpectMatchesCpuKernels<float>(c, 12);
}

TEST(CudaEmulationTest, TakesEveryFormOfTheLinearFamily) {
  for (const Features features : {Features::kIdentity, Features::kRelu, Features::kEluPlusOne}) {
    for (const bool normalize : {false, true}) {
      // sums of unmapped features would come near 0, where dividing by them means nothing
      if (normalize && features == Features::kIdentity) continue;
      for (const bool masked : {false, true}) {
        const Case c{.batch = 2,
                     .length = 70,
                     .width = 32,
                     .features = features,
                     .normalize = normalize,
                     .masked = masked};
        ExpectMatchesCpuKernels<float>(c);
        ExpectMatchesCpuKernels<float>(c, 2);
      }
    }
  }
}

TEST(CudaEmulationTest, PlainTf32IsAsCloseAsItsMantissa) {
  const Case c{.heads = 2, .length = 130, .width = 64, .reweight_length = 260};
  Example<float> found(c);
  const auto expected = OnCpu(c, found);
  Problem problem = found.MakeProblem();
  problem.one_product = true;
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) RunOnHost(problem, pass, {1, 3});
  EXPECT_LT(LargestError(found.out, expected.out), 3e-3);
  EXPECT_LT(LargestError(found.packed_grad, expected.packed_grad), 3e-3);
  EXPECT_GT(LargestError(found.out, expected.out), 2e-5);
}

TEST(CudaEmulationTest, ClampsTheNormaliser) {
  const Case c{.heads = 2, .length = 70, .width = 16, .reweight_length = 140};
  ExpectMatchesCpuKernels<float>(c, 1, [](Example<float>& x) {
    for (int64_t column = 0; column < 16; ++column) {
      for (int64_t token = 3; token < 50; ++token) x.At(x.packed, 3, 0, 0, 1, token, column) = -1;
      x.At(x.packed, 3, 0, 0, 0, 60, column) *= 1e-9f;  // below eps, and with a gradient
    }
  });
}

template <class T>
std::vector<unsigned char> BytesOf(const std::vector<T>& x) {
  const auto* const begin = reinterpret_cast<const unsigned char*>(x.data());
  return {begin, begin + x.size() * sizeof(T)};
}

template <class T>
void ExpectSameInAnyOrder(const Case& c, int64_t segments) {
  Example<T> up(c);
  RunBoth(up, Segments(c.length, segments), Order::kUp);
  for (const Order order : {Order::kDown, Order::kShuffled}) {
    Example<T> other(c);
    RunBoth(other, Segments(c.length, segments), order);
    EXPECT_EQ(BytesOf(up.out), BytesOf(other.out)) << c.Name();
    EXPECT_EQ(BytesOf(up.packed_grad), BytesOf(other.packed_grad)) << c.Name();
  }
}

TEST(CudaEmulationTest, TheOrderOfThreadsChangesNoBit) {
  for (const int64_t width : {16, 64, 128}) {
    const Case c{.length = 200, .width = width, .reweight_length = 400, .masked = true};
    ExpectSameInAnyOrder<BFloat16>(c, 1);
    ExpectSameInAnyOrder<BFloat16>(c, 2);
    ExpectSameInAnyOrder<float>(c, 2);
  }
}

TEST(CudaEmulationTest, ValuesOfLaterTokensAndOtherHeadsReachNoEarlierOne) {
  for (const int64_t length : {10, 100, 200}) {
    const Case c{
        .batch = 2, .heads = 2, .length = length, .width = 16, .reweight_length = 2 * length};
    const int64_t poisoned_token = length / 2;
    Example<float> clean(c), poisoned(c);
    for (const int64_t array : {0, 1, 2}) {
      poisoned.At(poisoned.packed, 3, array, 0, 1, poisoned_token, 3) = kNan;
    }
    for (Example<float>* x : {&clean, &poisoned}) {
      RunOnHost(x->MakeProblem(), Pass::kForward, Segments(length));
    }
    for (int64_t b = 0; b < 2; ++b) {
      for (int64_t h = 0; h < 2; ++h) {
        for (int64_t token = 0; token < length; ++token) {
          const float found = poisoned.At(poisoned.out, 1, 0, b, h, token, 3);
          if (b == 0 && h == 1 && token >= poisoned_token) {
            ASSERT_TRUE(std::isnan(found)) << c.Name() << ", token " << token;
          } else {
            ASSERT_EQ(found, clean.At(clean.out, 1, 0, b, h, token, 3))
                << c.Name() << ", batch " << b << ", head " << h << ", token " << token;
          }
        }
      }
    }
  }
}

TEST(CudaEmulationTest, AValueThatIsNotFiniteReachesEveryLaterOutputOfItsColumn) {
  for (const float bad : {kNan, std::numeric_limits<float>::infinity()}) {
    const Case c{.length = 200, .width = 16, .features = Features::kEluPlusOne};
    Example<float> x(c);
    x.At(x.packed, 3, 2, 0, 0, 70, 5) = bad;
    RunOnHost(x.MakeProblem(), Pass::kForward, Segments(c.length));
    for (int64_t token = 0; token < c.length; ++token) {
      for (const int64_t column : {4, 5}) {
        EXPECT_EQ(std::isnan(x.At(x.out, 1, 0, 0, 0, token, column)), token >= 70 && column == 5)
            << token << ", " << column;
      }
    }
  }
}

TEST(CudaEmulationTest, PaddingChangesNoBitAndGetsNoGradient) {
  for (const int64_t length : {20, 70}) {
    const Case c{.batch = 3,
                 .heads = 2,
                 .length = length,
                 .width = 16,
                 .reweight_length = 2 * length,
                 .masked = true};
    Example<float> clean(c), noisy(c);
    const auto for_padding = [&](const auto& body) {
      for (int64_t i = 0; i < c.batch * length; ++i) {
        if (clean.mask[static_cast<size_t>(i)]) continue;
        for (int64_t h = 0; h < 2; ++h) {
          for (int64_t column = 0; column < 16; ++column) body(i / length, h, i % length, column);
        }
      }
    };
    for_padding([&](int64_t b, int64_t h, int64_t token, int64_t column) {
      for (const int64_t array : {1, 2}) {
        noisy.At(noisy.packed, 3, array, b, h, token, column) = column == 2 ? kNan : 1e4f;
      }
    });
    RunBoth(clean, Segments(length));
    RunBoth(noisy, Segments(length));
    EXPECT_EQ(clean.out, noisy.out) << c.Name();
    EXPECT_EQ(clean.packed_grad, noisy.packed_grad) << c.Name();
    for_padding([&](int64_t b, int64_t h, int64_t token, int64_t column) {
      for (const int64_t array : {1, 2}) {
        ASSERT_EQ(noisy.At(noisy.packed_grad, 3, array, b, h, token, column), 0) << c.Name();
      }
    });
  }
}

TEST(CudaEmulationTest, RoundsToBFloat16LikeTheStandard) {
  const auto rounded = [](float x) {
    BFloat16 to;
    Round(x, to);
    return ToFloat(to);
  };
  EXPECT_EQ(rounded(1.00390625f), 1.0f);       // a tie goes to the even one
  EXPECT_EQ(rounded(1.01171875f), 1.015625f);  // likewise, upwards
  EXPECT_EQ(rounded(-3.4e38f), -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(rounded(kNan)));
}

TEST(CudaEmulationTest, WorkIsCutByShapeAlone) {
  Problem problem;
  problem.batch = 64;
  problem.heads = 4;
  problem.width = problem.value_width = 64;
  problem.reweight_length = 1 << 20;
  problem.length = 4096;
  EXPECT_EQ(MakeCut(problem, Pass::kForward).segments, 1);
  problem.batch = 1;
  const Cut cut = MakeCut(problem, Pass::kForward);
  EXPECT_EQ(cut.segments, 16);
  EXPECT_EQ(cut.chunks_per_segment, 4);
  EXPECT_EQ(WorkspaceSize(problem, Pass::kForward, cut),
            (4 * 16 * SumsKernel<Float32Products, 64, Task::kStates, true>::kStateValues));
  EXPECT_EQ(WorkspaceSize(problem, Pass::kBackward, MakeCut(problem, Pass::kBackward)) % 4, 0);
}

TEST(CudaEmulationTest, SharedMemoryFitsTheDevices) {
  Problem problem;
  const auto kilobytes = [&](Type type, int64_t width, int64_t length) {
    problem.type = type;
    problem.width = problem.value_width = width;
    problem.length = length;
    return SharedBytes(problem) / 1024;
  };
  EXPECT_LE(kilobytes(Type::kFloat32, 128, 65), 227);  // sm_90
  EXPECT_LE(kilobytes(Type::kFloat32, 64, 65), 163);   // sm_80
  EXPECT_LE(kilobytes(Type::kFloat32, 128, 64), 163);
  EXPECT_LE(kilobytes(Type::kBFloat16, 128, 65), 163);
  EXPECT_LE(kilobytes(Type::kFloat32, 32, 65), 99);  // sm_86, sm_89
  EXPECT_LE(kilobytes(Type::kBFloat16, 64, 65), 99);
  EXPECT_LE(kilobytes(Type::kBFloat16, 128, 64), 99);
}

}  // namespace
}  // namespace cosdt::attention::kernels::cuda
