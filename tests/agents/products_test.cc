#include "agents/products.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace cosdt::agents::products {
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

Packed RandomWeights(const Case& c, std::vector<float>& plain) {
  plain = Random(c.inputs * c.outputs, 2);  // [inputs, outputs]
  Packed w;
  w.inputs = c.inputs;
  w.outputs = c.outputs;
  w.panels = Floats(c.inputs * c.outputs);
  w.bias = Floats(c.outputs);
  for (int64_t i = 0; i < c.inputs; ++i) {
    for (int64_t o = 0; o < c.outputs; ++o) {
      w.panels.data()[(o / kPanel * c.inputs + i) * kPanel + o % kPanel] = plain[i * c.outputs + o];
    }
  }
  for (int64_t o = 0; o < c.outputs; ++o) w.bias.data()[o] = 0.1f * static_cast<float>(o % 7);
  return w;
}

TEST(ProductsTest, MultiplyEqualsSumsInFloat64) {
  for (const Case& c : kCases) {
    std::vector<float> plain, x = Random(c.rows * c.inputs, 1);
    const Packed w = RandomWeights(c, plain);
    const int64_t stride = c.outputs + 3;
    for (const Then then : {Then::kStore, Then::kRelu}) {
      std::vector<float> y(c.rows * stride, -77);
      Multiply({x.data(), c.inputs}, c.rows, w, w.bias.data(), 0, c.outputs, then,
               {y.data(), stride});
      for (int64_t r = 0; r < c.rows; ++r) {
        for (int64_t o = 0; o < c.outputs; ++o) {
          double sum = w.bias.data()[o];
          for (int64_t i = 0; i < c.inputs; ++i) {
            sum += double{x[r * c.inputs + i]} * plain[i * c.outputs + o];
          }
          if (then == Then::kRelu) sum = std::max(sum, 0.0);
          ASSERT_NEAR(y[r * stride + o], sum, 1e-5 * static_cast<double>(c.inputs))
              << r << " " << o;
        }
        for (int64_t o = c.outputs; o < stride; ++o) ASSERT_EQ(y[r * stride + o], -77);
      }
    }
  }
}

TEST(ProductsTest, ARowDoesNotDependOnTheOthers) {
  const Case c{37, 50, 96};
  std::vector<float> plain, x = Random(c.rows * c.inputs, 1);
  const Packed w = RandomWeights(c, plain);
  std::vector<float> together(c.rows * c.outputs), alone(c.outputs);
  Multiply({x.data(), c.inputs}, c.rows, w, w.bias.data(), 0, c.outputs, Then::kStore,
           {together.data(), c.outputs});
  for (int64_t r = 0; r < c.rows; ++r) {
    Multiply({x.data() + r * c.inputs, c.inputs}, 1, w, w.bias.data(), 0, c.outputs, Then::kStore,
             {alone.data(), c.outputs});
    for (int64_t o = 0; o < c.outputs; ++o) ASSERT_EQ(together[r * c.outputs + o], alone[o]);
  }
}

TEST(ProductsTest, AddTransposedProductEqualsSumsInFloat64) {
  for (const Case& c : kCases) {
    // a [rows, inputs], b [rows, outputs]: to [inputs, outputs]
    std::vector<float> a = Random(c.rows * c.inputs, 3), b = Random(c.rows * c.outputs, 4),
                       to = Random(c.inputs * c.outputs, 5);
    const std::vector<float> before = to;
    // in two parts, as two threads do it
    const int64_t cut = c.inputs / 2;
    AddTransposedProduct({a.data(), c.inputs}, {b.data(), c.outputs}, c.rows, 0, cut, c.outputs,
                         {to.data(), c.outputs});
    AddTransposedProduct({a.data(), c.inputs}, {b.data(), c.outputs}, c.rows, cut, c.inputs,
                         c.outputs, {to.data(), c.outputs});
    for (int64_t i = 0; i < c.inputs; ++i) {
      for (int64_t o = 0; o < c.outputs; ++o) {
        double sum = before[i * c.outputs + o];
        for (int64_t r = 0; r < c.rows; ++r) {
          sum += double{a[r * c.inputs + i]} * b[r * c.outputs + o];
        }
        ASSERT_NEAR(to[i * c.outputs + o], sum,
                    1e-5 * std::sqrt(static_cast<double>(c.rows)) + 1e-4);
      }
    }
  }
}

}  // namespace
}  // namespace cosdt::agents::products
