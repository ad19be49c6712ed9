// The CPU kernels by themselves, without LibTorch: against sums in double, and driven by
// std::thread, so that the thread sanitizer sees all of it.
#include "attention/linear_kernels.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cmath>
#include <functional>
#include <numbers>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace cosdt::attention::kernels {
namespace {

struct Sizes {
  int64_t heads, length, width, value_width, reweight_length, chunk;
  double half_life = 0;
};

// Inputs and outputs of one problem, filled with normal values.
template <class T>
struct Buffers {
  explicit Buffers(const Sizes& s) : sizes(s) {
    std::mt19937 engine(7);
    std::normal_distribution<double> normal;
    for (auto* x : {&q, &k, &dq, &dk}) x->resize(s.heads * s.length * s.width);
    for (auto* x : {&v, &out, &g, &dv}) x->resize(s.heads * s.length * s.value_width);
    normalizer.resize(s.heads * s.length);
    for (auto* x : {&q, &k, &v, &g}) {
      for (T& value : *x) value = static_cast<T>(normal(engine));
    }
  }

  Problem MakeProblem() {
    Problem p;
    p.type = sizeof(T) == 8 ? Type::kFloat64 : Type::kFloat32;
    p.heads = sizes.heads;
    p.length = sizes.length;
    p.width = sizes.width;
    p.value_width = sizes.value_width;
    p.reweight_length = sizes.reweight_length;
    p.half_life = sizes.half_life;
    p.q = Of(q, sizes.width), p.k = Of(k, sizes.width), p.v = Of(v, sizes.value_width);
    p.out = Of(out, sizes.value_width), p.grad_out = Of(g, sizes.value_width);
    p.grad_q = Of(dq, sizes.width), p.grad_k = Of(dk, sizes.width);
    p.grad_v = Of(dv, sizes.value_width);
    p.normalizer = normalizer.data();
    return p;
  }

  Sizes sizes;
  std::vector<T> q, k, v, out, g, dq, dk, dv, normalizer;

 private:
  Array Of(std::vector<T>& x, int64_t width) const {
    return {x.data(), 0, static_cast<ptrdiff_t>(sizes.length * width),
            static_cast<ptrdiff_t>(width)};
  }
};

// Outputs and gradients term by term, from the formulas.
template <class T>
Buffers<T> Naive(const Sizes& s, double eps) {
  Buffers<T> x(s);
  const auto relu = [](T a) { return a > 0 ? static_cast<double>(a) : 0.0; };
  std::vector<double> dq(x.dq.size()), dk(x.dk.size()), dv(x.dv.size());
  for (int64_t h = 0; h < s.heads; ++h) {
    const auto row = [&](int64_t t, int64_t width) { return (h * s.length + t) * width; };
    for (int64_t i = 0; i < s.length; ++i) {
      std::vector<double> sum(s.value_width), w(i + 1), dot(i + 1);
      double total = 0;
      for (int64_t j = 0; j <= i; ++j) {
        w[j] = s.reweight_length == 0 ? 1
                                      : std::cos(std::numbers::pi / 2 * static_cast<double>(i - j) /
                                                 static_cast<double>(s.reweight_length));
        if (s.half_life > 0) {
          w[j] *= std::exp2(-static_cast<double>(i - j) / (s.half_life * std::exp2(h)));
        }
        for (int64_t p = 0; p < s.width; ++p) {
          dot[j] += relu(x.q[row(i, s.width) + p]) * relu(x.k[row(j, s.width) + p]);
        }
        total += w[j] * dot[j];
        for (int64_t c = 0; c < s.value_width; ++c) {
          sum[c] += w[j] * dot[j] * x.v[row(j, s.value_width) + c];
        }
      }
      const double r = 1 / std::max(total, eps);
      double delta = 0;
      for (int64_t c = 0; c < s.value_width; ++c) {
        const double o = r * sum[c];
        x.out[row(i, s.value_width) + c] = static_cast<T>(o);
        if (total >= eps) delta -= r * x.g[row(i, s.value_width) + c] * o;
      }
      for (int64_t j = 0; j <= i; ++j) {
        double ds = delta;
        for (int64_t c = 0; c < s.value_width; ++c) {
          const double g = r * x.g[row(i, s.value_width) + c];
          ds += g * x.v[row(j, s.value_width) + c];
          dv[row(j, s.value_width) + c] += w[j] * dot[j] * g;
        }
        for (int64_t p = 0; p < s.width; ++p) {
          const T q = x.q[row(i, s.width) + p], k = x.k[row(j, s.width) + p];
          if (q > 0) dq[row(i, s.width) + p] += w[j] * ds * relu(k);
          if (k > 0) dk[row(j, s.width) + p] += w[j] * ds * relu(q);
        }
      }
    }
  }
  std::copy(dq.begin(), dq.end(), x.dq.begin());
  std::copy(dk.begin(), dk.end(), x.dk.begin());
  std::copy(dv.begin(), dv.end(), x.dv.begin());
  return x;
}

template <class T>
double LargestError(const std::vector<T>& found, const std::vector<T>& expected) {
  double error = 0, scale = 1;  // the gradients of a single token are 0 except for rounding
  for (size_t i = 0; i < found.size(); ++i) {
    const double difference = std::abs(static_cast<double>(found[i] - expected[i]));
    error = difference <= error ? error : difference;  // a NaN stays
    scale = std::max(scale, std::abs(static_cast<double>(expected[i])));
  }
  return error / scale;
}

template <class T>
void ExpectMatchesNaive(const Sizes& s, double tolerance) {
  SCOPED_TRACE(testing::Message() << "length " << s.length << ", widths " << s.width << " and "
                                  << s.value_width << ", chunk " << s.chunk << ", M "
                                  << s.reweight_length << ", half-life " << s.half_life);
  Buffers<T> x(s);
  const Problem problem = x.MakeProblem();
  Plan(problem, Pass::kForward, s.chunk).RunHeads(0, s.heads);
  Plan(problem, Pass::kBackward, s.chunk).RunHeads(0, s.heads);
  const Buffers<T> expected = Naive<T>(s, problem.eps);
  EXPECT_LT(LargestError(x.out, expected.out), tolerance);
  EXPECT_LT(LargestError(x.dq, expected.dq), tolerance);
  EXPECT_LT(LargestError(x.dk, expected.dk), tolerance);
  EXPECT_LT(LargestError(x.dv, expected.dv), tolerance);
}

TEST(LinearKernelsTest, MatchTheFormulasInEveryForm) {
  for (const auto& [width, value_width] : {std::pair{1, 1}, {3, 5}, {16, 16}, {33, 20}}) {
    for (const int64_t length : {1, 2, 11, 12, 13, 47, 48, 49, 60, 97, 145}) {
      for (const int64_t chunk : {0, 1, 7, 12, 48, 50, 96, 144}) {
        for (const int64_t reweight_length : {int64_t{0}, length, 2 * length}) {
          const Sizes s{2, length, width, value_width, reweight_length, chunk};
          ExpectMatchesNaive<float>(s, 2e-5);
          ExpectMatchesNaive<double>(s, 1e-12);
        }
      }
    }
  }
}

TEST(LinearKernelsTest, DecayMatchesTheFormulasInEveryForm) {
  for (const auto& [width, value_width] : {std::pair{3, 5}, {33, 20}}) {
    for (const int64_t length : {1, 49, 145}) {
      for (const int64_t chunk : {0, 7, 48, 96}) {
        for (const int64_t reweight_length : {int64_t{0}, length}) {
          for (const double half_life : {0.5, 20.0}) {
            const Sizes s{2, length, width, value_width, reweight_length, chunk, half_life};
            ExpectMatchesNaive<float>(s, 2e-5);
            ExpectMatchesNaive<double>(s, 1e-12);
          }
        }
      }
    }
  }
}

#if HWY_ARCH_X86
// Leaves run-time dispatch only the given instruction sets; 0: all that the processor has.
void AllowInstructionSets(int64_t targets) {
  hwy::SetSupportedTargetsForTest(targets);
  hwy::GetChosenTarget().DeInit();
}

TEST(LinearKernelsTest, MatchTheFormulasInEveryInstructionSet) {
  std::set<std::string> tried;
  const int64_t all = hwy::SupportedTargets();
  for (int64_t left = all; left != 0; left &= left - 1) {
    AllowInstructionSets(left & -left);
    if (!tried.insert(InstructionSet()).second) continue;
    SCOPED_TRACE(InstructionSet());
    for (const Sizes& s : {Sizes{2, 60, 32, 32, 120, 0},
                           {1, 100, 33, 20, 100, 48},
                           {1, 97, 16, 16, 0, 12},
                           {1, 144, 64, 64, 288, 144},
                           {2, 150, 33, 20, 150, 48, 6}}) {
      ExpectMatchesNaive<float>(s, 2e-5);
      ExpectMatchesNaive<double>(s, 1e-12);
    }
  }
  AllowInstructionSets(0);
  if (all & HWY_AVX2) {
    EXPECT_EQ(tried.count("AVX2"), 1u);
  }
}
#endif

// Runs work(begin, end) over [0, n) on the given number of threads, an uneven cut.
void OnThreads(int threads, int64_t n, const std::function<void(int64_t, int64_t)>& work) {
  std::vector<std::thread> running;
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([=, &work] { work(n * t / threads, n * (t + 1) / threads); });
  }
  for (std::thread& thread : running) thread.join();
}

void RunInSegments(const Plan& plan, int threads) {
  std::vector<std::byte> states(plan.state_size());
  OnThreads(threads, plan.heads() * threads, [&](int64_t begin, int64_t end) {
    plan.SumStates(begin, end, threads, states.data());
  });
  OnThreads(threads, plan.heads() * plan.segments(),
            [&](int64_t begin, int64_t end) { plan.RunSegments(begin, end, states.data()); });
}

template <class T>
void ExpectSameBits(const Buffers<T>& a, const Buffers<T>& b) {
  EXPECT_EQ(a.out, b.out);
  EXPECT_EQ(a.normalizer, b.normalizer);
  EXPECT_EQ(a.dq, b.dq);
  EXPECT_EQ(a.dk, b.dk);
  EXPECT_EQ(a.dv, b.dv);
}

TEST(LinearKernelsTest, ThreadsDoNotChangeABit) {
  for (const int64_t length : {60, 500}) {
    const Sizes s{5, length, 16, 16, 2 * length, 0};
    Buffers<float> one(s), three(s);
    const Problem alone = one.MakeProblem(), shared = three.MakeProblem();
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
      Plan(alone, pass).RunHeads(0, s.heads);
      const Plan plan(shared, pass);
      OnThreads(3, s.heads, [&](int64_t begin, int64_t end) { plan.RunHeads(begin, end); });
    }
    ExpectSameBits(one, three);
  }
}

TEST(LinearKernelsTest, SegmentsDoNotChangeABit) {
  for (const Sizes& s :
       {Sizes{2, 2500, 7, 9, 0, 0}, {2, 2500, 7, 9, 4000, 0}, {2, 2500, 7, 9, 4000, 0, 90}}) {
    Buffers<float> serial(s);
    const Problem whole = serial.MakeProblem();
    ASSERT_GT(Plan(whole, Pass::kForward).segments(), 1);
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) Plan(whole, pass).RunHeads(0, 2);
    for (const int threads : {1, 4}) {
      Buffers<float> parallel(s);
      const Problem cut = parallel.MakeProblem();
      for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
        RunInSegments(Plan(cut, pass), threads);
      }
      ExpectSameBits(serial, parallel);
    }
    ExpectMatchesNaive<double>(s, 1e-11);
  }
}

TEST(LinearKernelsTest, ValuesOfLaterTokensReachNoEarlierOne) {
  for (const int64_t chunk : {0, 48, 96}) {
    const Sizes s{1, 150, 5, 5, 300, chunk};
    Buffers<float> clean(s), poisoned(s);
    const int64_t token = 100;
    for (auto* x : {&poisoned.q, &poisoned.k, &poisoned.v}) {
      (*x)[token * 5] = std::numeric_limits<float>::quiet_NaN();
    }
    const Problem a = clean.MakeProblem(), b = poisoned.MakeProblem();
    Plan(a, Pass::kForward, chunk).RunHeads(0, 1);
    Plan(b, Pass::kForward, chunk).RunHeads(0, 1);
    for (int64_t i = 0; i < token * 5; ++i) ASSERT_EQ(clean.out[i], poisoned.out[i]) << i / 5;
    for (int64_t i = token * 5; i < 150 * 5; i += 5) ASSERT_TRUE(std::isnan(poisoned.out[i]));
  }
}

TEST(LinearKernelsTest, LongSequencesAreCutByShapeAlone) {
  Problem problem;
  problem.heads = 2;
  problem.width = problem.value_width = 64;
  problem.reweight_length = 1 << 20;
  problem.length = 60;
  EXPECT_EQ(Plan(problem, Pass::kForward).chunk(), 60);
  EXPECT_EQ(Plan(problem, Pass::kForward).segments(), 1);
  problem.length = 1 << 16;
  EXPECT_LT(Plan(problem, Pass::kForward).chunk(), 512);
  EXPECT_EQ(Plan(problem, Pass::kForward).segments(), 8);
  problem.heads = 64;
  EXPECT_EQ(Plan(problem, Pass::kForward).segments(), 1);
}

}  // namespace
}  // namespace cosdt::attention::kernels
