// The CUDA kernels' templates on the host against the CPU kernels in float64, which share no code
// with them.
#include <gtest/gtest.h>

#include "tests/attention/cuda_example.h"

namespace cosdt::attention::kernels::cuda {
namespace {

// Sets single values before the run.
template <class T>
using Change = void (*)(Example<T>&);

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
  // enough heads that a block takes all 128 columns of one
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
  // enough that they are scanned
  const Case c{.length = 800, .width = 32, .reweight_length = 1000};
  ExpectMatchesCpuKernels<float>(c, 12);
}

TEST(CudaEmulationTest, TakesEveryFormOfTheLinearFamily) {
  for (const Features features : {Features::kIdentity, Features::kRelu, Features::kEluPlusOne}) {
    for (const bool normalize : {false, true}) {
      // sums of unmapped features would come near 0, so that dividing by them means nothing
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

}  // namespace
}  // namespace cosdt::attention::kernels::cuda
