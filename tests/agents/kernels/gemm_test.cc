#include "agents/kernels/gemm.h"

#include <c10/util/BFloat16.h>
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace cosdt::agents::kernels {
namespace {

std::vector<float> Random(int64_t n, uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& v : x) v = normal(rng);
  return x;
}

struct Case {
  int64_t rows, inputs, outputs;
};

// around the borders of tiles and blocks
const Case kCases[] = {{1, 1, 16},     {5, 3, 48},    {6, 16, 64},    {7, 33, 80},  {97, 128, 128},
                       {300, 20, 144}, {513, 64, 16}, {257, 512, 64}, {1025, 5, 32}};

float Rounded(float x) { return c10::BFloat16(x); }

// The packed form of plain [inputs, outputs], in bfloat16 or float32.
Packed Pack(const Case& c, const std::vector<float>& plain, bool bf16) {
  Packed w;
  w.inputs = c.inputs;
  w.outputs = c.outputs;
  w.bias = Floats(c.outputs);
  const int64_t pairs = Pairs(c.inputs);
  if (bf16) {
    w.pairs = AlignedBuffer<Pair>(pairs * c.outputs);
  } else {
    w.panels = Floats(c.inputs * c.outputs);
  }
  for (int64_t i = 0; i < c.inputs; ++i) {
    for (int64_t o = 0; o < c.outputs; ++o) {
      const float value = plain[i * c.outputs + o];
      if (bf16) {
        w.pairs.data()[(o / kPanel * pairs + i / 2) * kPanel + o % kPanel] |=
            Pair{c10::BFloat16(value).x} << (i % 2 * 16);
      } else {
        w.panels.data()[(o / kPanel * c.inputs + i) * kPanel + o % kPanel] = value;
      }
    }
  }
  for (int64_t o = 0; o < c.outputs; ++o) w.bias.data()[o] = 0.1f * static_cast<float>(o % 7);
  return w;
}

// The processor's best instructions, and those of one without AVX-512.
class ProductsTest : public testing::TestWithParam<bool> {
 protected:
  ProductsTest() {
    if (!GetParam()) Support(hwy::SupportedTargets() & ~(2 * int64_t{HWY_AVX3} - 1));
  }
  ~ProductsTest() override { Support(0); }

  // bfloat16 has kernels in AVX-512 alone.
  std::vector<bool> Precisions() const {
    return GetParam() && ProcessorHasBFloat16() ? std::vector<bool>{false, true}
                                                : std::vector<bool>{false};
  }

 private:
  static void Support(int64_t targets) {
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

INSTANTIATE_TEST_SUITE_P(Processors, ProductsTest, testing::Bool(),
                         [](const auto& test) { return test.param ? "best" : "no_avx512"; });

TEST_P(ProductsTest, MultiplyEqualsSumsInFloat64) {
  for (const Case& c : kCases) {
    std::vector<float> x = Random(c.rows * c.inputs, 1), plain = Random(c.inputs * c.outputs, 2);
    const int64_t stride = c.outputs + 3;
    for (const bool bf16 : Precisions()) {
      const Packed w = Pack(c, plain, bf16);
      for (const Epilogue epilogue : {Epilogue::kStore, Epilogue::kRelu}) {
        std::vector<float> y(c.rows * stride, -77);
        Gemm({x.data(), c.inputs}, c.rows, w, w.bias.data(), 0, c.outputs, epilogue,
             {y.data(), stride});
        for (int64_t r = 0; r < c.rows; ++r) {
          for (int64_t o = 0; o < c.outputs; ++o) {
            double sum = w.bias.data()[o];
            for (int64_t i = 0; i < c.inputs; ++i) {
              const float a = x[r * c.inputs + i], b = plain[i * c.outputs + o];
              sum += bf16 ? double{Rounded(a)} * Rounded(b) : double{a} * b;
            }
            if (epilogue == Epilogue::kRelu) sum = std::max(sum, 0.0);
            ASSERT_NEAR(y[r * stride + o], sum, 1e-5 * static_cast<double>(c.inputs))
                << r << " " << o;
          }
          for (int64_t o = c.outputs; o < stride; ++o) ASSERT_EQ(y[r * stride + o], -77);
        }
      }
    }
  }
}

TEST_P(ProductsTest, ARowDoesNotDependOnTheOthers) {
  const Case c{37, 51, 96};
  std::vector<float> x = Random(c.rows * c.inputs, 1);
  for (const bool bf16 : Precisions()) {
    const Packed w = Pack(c, Random(c.inputs * c.outputs, 2), bf16);
    std::vector<float> together(c.rows * c.outputs), alone(c.outputs);
    Gemm({x.data(), c.inputs}, c.rows, w, w.bias.data(), 0, c.outputs, Epilogue::kStore,
         {together.data(), c.outputs});
    for (int64_t r = 0; r < c.rows; ++r) {
      Gemm({x.data() + r * c.inputs, c.inputs}, 1, w, w.bias.data(), 0, c.outputs, Epilogue::kStore,
           {alone.data(), c.outputs});
      for (int64_t o = 0; o < c.outputs; ++o) ASSERT_EQ(together[r * c.outputs + o], alone[o]);
    }
  }
}

// Ties, the borders of the range, infinities and NaN.
TEST(BFloat16Test, RoundsAsLibTorchDoes) {
  if (!ProcessorHasBFloat16()) GTEST_SKIP() << "needs a processor with AVX-512 BF16";
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float x :
       {1.00390625f, 1.01171875f, -1.00390625f, 0.1f, 3.3895e38f, 3.4e38f, -3.4e38f, infinity,
        -infinity, std::bit_cast<float>(0x7fffffffu), std::bit_cast<float>(0xff800001u)}) {
    for (const int64_t inputs : {1, 17, 32}) {
      const Packed w = Pack({1, inputs, 16}, std::vector<float>(inputs * 16, 1.0f), true);
      std::vector<float> from(inputs), to(16);
      from.back() = x;
      Gemm({from.data(), inputs}, 1, w, std::vector<float>(16).data(), 0, 16, Epilogue::kStore,
           {to.data(), 16});
      for (const float y : to) {
        if (std::isnan(x)) {
          ASSERT_TRUE(std::isnan(y)) << inputs;
        } else {
          ASSERT_EQ(y, Rounded(x)) << inputs;
        }
      }
    }
  }
}

TEST_P(ProductsTest, AddTransposedProductEqualsSumsInFloat64) {
  for (const bool bf16 : Precisions()) {
    const auto add_product = bf16 ? AddTransposedProductBFloat16 : AddTransposedProduct;
    const auto as_used = [&](float x) { return double{bf16 ? Rounded(x) : x}; };
    for (const Case& c : kCases) {
      // a [rows, inputs], b [rows, outputs]: to [inputs, outputs]
      std::vector<float> a = Random(c.rows * c.inputs, 3), b = Random(c.rows * c.outputs, 4),
                         to = Random(c.inputs * c.outputs, 5);
      const std::vector<float> before = to;
      // in two parts, as two threads do it
      const int64_t cut = c.inputs / 2;
      for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, cut}, {cut, c.inputs}}) {
        add_product({a.data(), c.inputs}, {b.data(), c.outputs}, c.rows, begin, end, c.outputs,
                    {to.data(), c.outputs});
      }
      for (int64_t i = 0; i < c.inputs; ++i) {
        for (int64_t o = 0; o < c.outputs; ++o) {
          double sum = before[i * c.outputs + o];
          for (int64_t r = 0; r < c.rows; ++r) {
            sum += as_used(a[r * c.inputs + i]) * as_used(b[r * c.outputs + o]);
          }
          ASSERT_NEAR(to[i * c.outputs + o], sum,
                      1e-5 * std::sqrt(static_cast<double>(c.rows)) + 1e-4);
        }
      }
    }
  }
}

TEST_P(ProductsTest, PackedWeightsGiveTheSameProducts) {
  for (const bool bf16 : Precisions()) {
    for (const Case& c : {Case{5, 33, 48}, Case{4, 16, 7}, Case{3, 1, 16}}) {
      std::vector<float> x = Random(c.rows * c.inputs, 1), plain = Random(c.inputs * c.outputs, 2),
                         turned(plain.size());
      for (int64_t i = 0; i < c.inputs; ++i) {
        for (int64_t o = 0; o < c.outputs; ++o) {
          turned[o * c.inputs + i] = plain[i * c.outputs + o];
        }
      }
      Packed packed, transposed;
      PackWeights(plain.data(), c.inputs, c.outputs, false, bf16, packed);
      PackWeights(turned.data(), c.outputs, c.inputs, true, bf16, transposed);
      EXPECT_EQ(packed.outputs, Padded(c.outputs));
      std::vector<float> y(c.rows * packed.outputs), z(y.size());
      for (auto [w, to] : {std::pair(&packed, &y), std::pair(&transposed, &z)}) {
        Gemm({x.data(), c.inputs}, c.rows, *w, w->bias.data(), 0, w->outputs, Epilogue::kStore,
             {to->data(), w->outputs});
      }
      EXPECT_EQ(y, z);
      for (int64_t r = 0; r < c.rows; ++r) {
        for (int64_t o = 0; o < packed.outputs; ++o) {
          double sum = 0;
          for (int64_t i = 0; o < c.outputs && i < c.inputs; ++i) {
            const float a = x[r * c.inputs + i], b = plain[i * c.outputs + o];
            sum += bf16 ? double{Rounded(a)} * Rounded(b) : double{a} * b;
          }
          ASSERT_NEAR(y[r * packed.outputs + o], sum, 1e-4);
        }
      }
    }
  }
}

TEST_P(ProductsTest, ReluGradientKeepsWhatWasPositive) {
  const Case c{7, 16, 32};
  std::vector<float> x = Random(c.rows * c.inputs, 1), to = Random(c.rows * c.outputs, 2);
  const Packed w = Pack(c, Random(c.inputs * c.outputs, 3), false);
  std::vector<float> plain(to.size());
  Gemm({x.data(), c.inputs}, c.rows, w, w.bias.data(), 0, c.outputs, Epilogue::kStore,
       {plain.data(), c.outputs});
  const std::vector<float> before = to;
  Gemm({x.data(), c.inputs}, c.rows, w, w.bias.data(), 0, c.outputs, Epilogue::kReluGradient,
       {to.data(), c.outputs});
  for (size_t i = 0; i < to.size(); ++i) EXPECT_EQ(to[i], before[i] > 0 ? plain[i] : 0) << i;
}

TEST_P(ProductsTest, SlopesFollowFromTheValues) {
  for (const int64_t columns : {1, 16, 37}) {
    const std::vector<float> x = Random(3 * columns, 1), g = Random(3 * columns, 2);
    for (const bool relu : {true, false}) {
      std::vector<float> value(x.size()), gradient = g;
      for (size_t i = 0; i < x.size(); ++i) {
        value[i] = relu ? std::max(x[i], 0.0f) : x[i] > 0 ? x[i] + 1 : std::exp(x[i]);
      }
      MulActivationSlopes(relu ? Epilogue::kRelu : Epilogue::kEluPlusOne, {value.data(), columns},
                          3, columns, {gradient.data(), columns});
      for (size_t i = 0; i < x.size(); ++i) {
        const float slope = x[i] > 0 ? 1 : relu ? 0 : std::exp(x[i]);
        EXPECT_FLOAT_EQ(gradient[i], g[i] * slope) << i;
      }
    }
  }
}

TEST_P(ProductsTest, ColumnSumsAddUpRows) {
  for (const int64_t columns : {1, 15, 16, 130}) {
    std::vector<float> x = Random(9 * (columns + 3), 1), sums = Random(columns, 2);
    const std::vector<float> before = sums;
    AddColumnSums({x.data(), columns + 3}, 9, columns, sums.data());
    for (int64_t j = 0; j < columns; ++j) {
      double sum = before[j];
      for (int64_t r = 0; r < 9; ++r) sum += x[r * (columns + 3) + j];
      EXPECT_NEAR(sums[j], sum, 1e-5);
    }
  }
}

}  // namespace
}  // namespace cosdt::agents::kernels
