// The CUDA kernels' templates on the host, where the threads of a block run one after the other
// between barriers: against the CPU kernels in float64, which share no code with them.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "attention/cuda_sums.cuh"

namespace cosdt::attention::kernels::cuda {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

enum class Order { kUp, kDown };

struct HostBlock {
  template <class T>
  struct PerThread : std::array<T, kThreads> {};

  template <class Part>
  void ForThreads(const Part& part) const {
    for (int t = 0; t < kThreads; ++t) part(order == Order::kUp ? t : kThreads - 1 - t);
  }
  Order order;
};

// Runs a pass on the host. Shared memory and workspace hold NaNs before anything is written.
void RunOnHost(const Problem& problem, Pass pass, const Cut& cut, Order order = Order::kUp) {
  std::vector<float> workspace(
      static_cast<size_t>(DeltasSize(problem, pass) + StatesSize(problem, pass, cut)), kNan);
  RunPass(problem, pass, cut, workspace.data(), [&](const auto& kernel, int64_t blocks) {
    for (int64_t block = 0; block < blocks; ++block) {
      std::vector<Vector4> shared(kernel.kSharedBytes / sizeof(Vector4),
                                  {{kNan, kNan, kNan, kNan}});
      kernel(HostBlock{order}, static_cast<int>(block), reinterpret_cast<float*>(shared.data()));
    }
  });
}

float ToNumber(float x) { return x; }
float ToNumber(uint16_t x) { return FromBFloat16(x); }
double ToNumber(double x) { return x; }
void Set(float& to, double x) { to = static_cast<float>(x); }
void Set(uint16_t& to, double x) { to = ToBFloat16(static_cast<float>(x)); }
void Set(double& to, double x) { to = x; }

struct Case {
  int64_t batch = 1, heads = 1, length = 1, width = 16;
  int64_t reweight_length = 0;
  Features features = Features::kRelu;
  bool normalize = true, masked = false;
  ptrdiff_t shift = 0;  // of all arrays from alignment, in elements

  std::string Name() const {
    return "B " + std::to_string(batch) + ", H " + std::to_string(heads) + ", L " +
           std::to_string(length) + ", d " + std::to_string(width) + ", M " +
           std::to_string(reweight_length) + ", features " +
           std::to_string(static_cast<int>(features)) + (normalize ? "" : ", not normalised") +
           (masked ? ", masked" : "") + ", shift " + std::to_string(shift);
  }
};

// One problem's numbers: q, k and v are packed as [batch, length, 3, heads, width], like their
// gradients; output and its gradient are [batch, length, heads, width].
template <class T>
class Example {
 public:
  explicit Example(const Case& c) : case_(c) {
    const auto numbers = static_cast<size_t>(c.batch * c.heads * c.length * c.width);
    const auto shift = static_cast<size_t>(c.shift);
    for (auto* x : {&packed, &packed_grad}) x->resize(3 * numbers + shift, T{});
    for (auto* x : {&out, &grad}) x->resize(numbers + shift, T{});
    normalizer.resize(static_cast<size_t>(c.batch * c.heads * c.length));
    std::mt19937 engine(5);
    std::normal_distribution<double> normal;
    for (auto* x : {&packed, &grad}) {
      for (T& number : *x) Set(number, normal(engine));
    }
    for (int64_t i = 0; i < c.batch * c.length; ++i) {
      mask.push_back(i % c.length >= c.length / 3 + i / c.length && i % 7 != 6);
    }
  }

  // The same numbers in another type.
  template <class U>
  Example<U> As() const {
    Example<U> to(case_);
    for (size_t i = 0; i < packed.size(); ++i) Set(to.packed[i], ToNumber(packed[i]));
    for (size_t i = 0; i < grad.size(); ++i) Set(to.grad[i], ToNumber(grad[i]));
    return to;
  }

  Problem MakeProblem() {
    Problem p;
    p.type = sizeof(T) == 8 ? Type::kFloat64 : sizeof(T) == 2 ? Type::kBFloat16 : Type::kFloat32;
    p.features = case_.features;
    p.batch = case_.batch;
    p.heads = case_.heads;
    p.length = case_.length;
    p.width = p.value_width = case_.width;
    p.reweight_length = case_.reweight_length;
    p.normalize = case_.normalize;
    p.q = Of(packed, 3, 0), p.k = Of(packed, 3, 1), p.v = Of(packed, 3, 2);
    p.grad_q = Of(packed_grad, 3, 0), p.grad_k = Of(packed_grad, 3, 1);
    p.grad_v = Of(packed_grad, 3, 2);
    p.out = Of(out, 1, 0), p.grad_out = Of(grad, 1, 0);
    p.normalizer = normalizer.data();
    mask_bytes.assign(mask.begin(), mask.end());
    if (case_.masked) p.mask = reinterpret_cast<const bool*>(mask_bytes.data());
    return p;
  }

  T& At(std::vector<T>& x, int64_t arrays, int64_t array, int64_t batch, int64_t head,
        int64_t token, int64_t column) {
    const Case& c = case_;
    const int64_t row = ((batch * c.length + token) * arrays + array) * c.heads + head;
    return x[static_cast<size_t>(c.shift + row * c.width + column)];
  }

  std::vector<T> packed, packed_grad, out, grad;
  std::vector<std::conditional_t<sizeof(T) == 8, double, float>> normalizer;
  std::vector<bool> mask;
  std::vector<unsigned char> mask_bytes;

 private:
  Array Of(std::vector<T>& x, int64_t arrays, int64_t array) {
    const auto token = static_cast<ptrdiff_t>(arrays * case_.heads * case_.width);
    return {&At(x, arrays, array, 0, 0, 0, 0), static_cast<ptrdiff_t>(case_.length) * token,
            static_cast<ptrdiff_t>(case_.width), token};
  }
  Case case_;
};

template <class T, class U>
double LargestError(const std::vector<T>& found, const std::vector<U>& expected) {
  double error = 0, scale = 1;
  for (size_t i = 0; i < found.size(); ++i) {
    const auto a = static_cast<double>(ToNumber(found[i]));
    const auto b = static_cast<double>(ToNumber(expected[i]));
    error = std::abs(a - b) <= error ? error : std::abs(a - b);  // a NaN stays
    scale = std::max(scale, std::abs(b));
  }
  return error / scale;
}

template <class T>
void RunBoth(Example<T>& x, const Cut& cut, Order order = Order::kUp) {
  const Problem problem = x.MakeProblem();
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) RunOnHost(problem, pass, cut, order);
}

// Sets single numbers before the run.
template <class T>
using Change = void (*)(Example<T>&);

template <class T>
void ExpectMatchesCpuKernels(const Case& c, const Cut& cut, Change<T> change = nullptr) {
  SCOPED_TRACE(c.Name() +
               (cut.quadratic ? ", quadratic" : ", segments " + std::to_string(cut.segments)));
  Example<T> found(c);
  if (change) change(found);
  auto expected = found.template As<double>();
  const Problem problem = expected.MakeProblem();
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    Plan(problem, pass).RunHeads(0, c.batch * c.heads);
  }
  RunBoth(found, cut);
  const double tolerance = sizeof(T) == 2 ? 2e-2 : 2e-5;
  EXPECT_LT(LargestError(found.out, expected.out), tolerance);
  EXPECT_LT(LargestError(found.packed_grad, expected.packed_grad), tolerance);
  if (!c.normalize) return;
  EXPECT_LT(LargestError(found.normalizer, expected.normalizer), 1e-5);
}

int64_t ChunksOf(int64_t length) { return (length + kRows - 1) / kRows; }

// The quadratic form, and chunks in the given number of segments.
Cut Chunks(int64_t length, int64_t segments = 1) {
  const int64_t each = (ChunksOf(length) + segments - 1) / segments;
  return {.quadratic = false,
          .segments = static_cast<int>((ChunksOf(length) + each - 1) / each),
          .chunks_per_segment = static_cast<int>(each)};
}

TEST(CudaTilesTest, MatchTheCpuKernelsAroundTheBordersOfTiles) {
  for (const int64_t width : {16, 32, 64, 128}) {
    for (const int64_t length : {1, 2, 31, 32, 33, 60, 64, 65, 97}) {
      if (width > 32 && length % 32 == 31) continue;
      for (const int64_t reweight_length : {int64_t{0}, length, 2 * length}) {
        const Case c{
            .heads = 2, .length = length, .width = width, .reweight_length = reweight_length};
        ExpectMatchesCpuKernels<float>(c, {});
        ExpectMatchesCpuKernels<float>(c, Chunks(length));
      }
    }
  }
}

TEST(CudaTilesTest, MatchTheCpuKernelsInBFloat16) {
  for (const int64_t width : {16, 32, 64, 128}) {
    for (const int64_t length : {1, 60, 90, 130}) {
      for (const bool masked : {false, true}) {
        const Case c{.batch = 2,
                     .heads = 2,
                     .length = length,
                     .width = width,
                     .reweight_length = 2 * length,
                     .masked = masked};
        ExpectMatchesCpuKernels<uint16_t>(c, {});
        ExpectMatchesCpuKernels<uint16_t>(c, Chunks(length));
      }
    }
  }
}

TEST(CudaTilesTest, SegmentsMatchTheCpuKernels) {
  for (const int64_t width : {16, 64, 128}) {
    for (const int64_t segments : {2, 3, 5}) {
      for (const int64_t reweight_length : {0, 1000}) {
        const Case c{.heads = 2,
                     .length = 300,
                     .width = width,
                     .reweight_length = reweight_length,
                     .masked = segments == 3};
        ExpectMatchesCpuKernels<float>(c, Chunks(c.length, segments));
      }
    }
  }
}

TEST(CudaTilesTest, TilesHoldSeveralShortHeads) {
  for (const int64_t length : {1, 3, 5, 20, 45}) {
    for (const bool masked : {false, true}) {
      const Case c{.batch = 3,
                   .heads = 5,
                   .length = length,
                   .width = 16,
                   .reweight_length = 2 * length,
                   .masked = masked};
      ExpectMatchesCpuKernels<float>(c, {});
      ExpectMatchesCpuKernels<float>(c, Chunks(length));
    }
  }
}

TEST(CudaTilesTest, TakeEveryFormOfTheLinearFamily) {
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
        ExpectMatchesCpuKernels<float>(c, {});
        ExpectMatchesCpuKernels<float>(c, Chunks(c.length, 2));
      }
    }
  }
}

TEST(CudaTilesTest, ReadArraysOfAnyAlignment) {
  for (const ptrdiff_t shift : {1, 2, 3}) {
    const Case c{.batch = 2,
                 .heads = 3,
                 .length = 40,
                 .width = 32,
                 .reweight_length = 80,
                 .masked = true,
                 .shift = shift};
    ExpectMatchesCpuKernels<float>(c, {});
    ExpectMatchesCpuKernels<float>(c, Chunks(c.length));
    ExpectMatchesCpuKernels<uint16_t>(c, {});
  }
}

TEST(CudaTilesTest, ClampTheNormaliser) {
  const Case c{.heads = 2, .length = 70, .width = 16, .reweight_length = 140};
  for (const Cut& cut : {Cut{}, Chunks(c.length)}) {
    ExpectMatchesCpuKernels<float>(c, cut, [](Example<float>& x) {
      for (int64_t column = 0; column < 16; ++column) {
        for (int64_t token = 3; token < 50; ++token) x.At(x.packed, 3, 0, 0, 1, token, column) = -1;
        x.At(x.packed, 3, 0, 0, 0, 60, column) *= 1e-9f;  // below eps, and with a gradient
      }
    });
  }
}

TEST(CudaTilesTest, TheOrderOfThreadsChangesNoBit) {
  for (const int64_t width : {16, 128}) {
    const Case c{.batch = 2,
                 .heads = 2,
                 .length = 100,
                 .width = width,
                 .reweight_length = 200,
                 .masked = true};
    for (const Cut& cut : {Cut{}, Chunks(c.length), Chunks(c.length, 2)}) {
      Example<float> up(c), down(c);
      RunBoth(up, cut, Order::kUp);
      RunBoth(down, cut, Order::kDown);
      EXPECT_EQ(up.out, down.out) << c.Name();
      EXPECT_EQ(up.packed_grad, down.packed_grad) << c.Name();
    }
  }
}

TEST(CudaTilesTest, NumbersOfLaterTokensAndOtherHeadsReachNoEarlierOne) {
  for (const int64_t length : {10, 100}) {
    const Case c{
        .batch = 2, .heads = 2, .length = length, .width = 16, .reweight_length = 2 * length};
    const int64_t poisoned_token = length / 2;
    for (const Cut& cut : {Cut{}, Chunks(length)}) {
      Example<float> clean(c), poisoned(c);
      for (const int64_t array : {0, 1, 2}) {
        poisoned.At(poisoned.packed, 3, array, 0, 1, poisoned_token, 3) = kNan;
      }
      for (Example<float>* x : {&clean, &poisoned}) {
        RunOnHost(x->MakeProblem(), Pass::kForward, cut);
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
}

TEST(CudaTilesTest, PaddingChangesNoBitAndGetsNoGradient) {
  for (const int64_t length : {20, 70}) {
    const Case c{.batch = 3,
                 .heads = 2,
                 .length = length,
                 .width = 16,
                 .reweight_length = 2 * length,
                 .masked = true};
    for (const Cut& cut : {Cut{}, Chunks(length)}) {
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
        for (const int64_t array : {1, 2})
          noisy.At(noisy.packed, 3, array, b, h, token, column) = 1e4f;
      });
      RunBoth(clean, cut);
      RunBoth(noisy, cut);
      EXPECT_EQ(clean.out, noisy.out) << c.Name();
      EXPECT_EQ(clean.packed_grad, noisy.packed_grad) << c.Name();
      for_padding([&](int64_t b, int64_t h, int64_t token, int64_t column) {
        for (const int64_t array : {1, 2}) {
          ASSERT_EQ(noisy.At(noisy.packed_grad, 3, array, b, h, token, column), 0) << c.Name();
        }
      });
    }
  }
}

TEST(CudaTilesTest, RoundToBFloat16LikeTheStandard) {
  EXPECT_EQ(FromBFloat16(ToBFloat16(1.00390625f)), 1.0f);       // a tie goes to the even one
  EXPECT_EQ(FromBFloat16(ToBFloat16(1.01171875f)), 1.015625f);  // likewise, upwards
  EXPECT_EQ(FromBFloat16(ToBFloat16(-3.4e38f)), -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(FromBFloat16(ToBFloat16(kNan))));
}

TEST(CudaTilesTest, WorkIsCutByShapeAlone) {
  Problem problem;
  problem.batch = 64;
  problem.heads = 4;
  problem.width = problem.value_width = 64;
  problem.reweight_length = 1 << 20;
  problem.length = 90;
  EXPECT_TRUE(MakeCut(problem, Pass::kForward).quadratic);
  problem.length = 4096;
  EXPECT_FALSE(MakeCut(problem, Pass::kForward).quadratic);
  EXPECT_EQ(MakeCut(problem, Pass::kForward).segments, 1);
  problem.batch = 1;
  const Cut cut = MakeCut(problem, Pass::kForward);
  EXPECT_EQ(cut.segments, 16);
  EXPECT_EQ(cut.chunks_per_segment, 8);
  EXPECT_EQ(StatesSize(problem, Pass::kForward, cut), 4 * 16 * StateSize(problem));
}

}  // namespace
}  // namespace cosdt::attention::kernels::cuda
