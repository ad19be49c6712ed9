// Properties of the CUDA kernels for any values: no bit depends on the order of threads, nothing
// flows back in time, padding has no effect, and the work fits the devices.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/attention/cuda_example.h"

namespace cosdt::attention::kernels::cuda {
namespace {

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

TEST(CudaInvariantsTest, TheOrderOfThreadsChangesNoBit) {
  for (const int64_t width : {16, 64, 128}) {
    const Case c{.length = 200, .width = width, .reweight_length = 400, .masked = true};
    ExpectSameInAnyOrder<BFloat16>(c, 1);
    ExpectSameInAnyOrder<BFloat16>(c, 2);
    ExpectSameInAnyOrder<float>(c, 2);
  }
}

TEST(CudaInvariantsTest, ValuesOfLaterTokensAndOtherHeadsReachNoEarlierOne) {
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

TEST(CudaInvariantsTest, AValueThatIsNotFiniteReachesEveryLaterOutputOfItsColumn) {
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

TEST(CudaInvariantsTest, PaddingChangesNoBitAndGetsNoGradient) {
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

TEST(CudaInvariantsTest, RoundsToBFloat16LikeTheStandard) {
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

TEST(CudaInvariantsTest, WorkIsCutByShapeAlone) {
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

TEST(CudaInvariantsTest, SharedMemoryFitsTheDevices) {
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
