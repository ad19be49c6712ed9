#include "agents/models/fused_ops.h"

#include <gtest/gtest.h>

#include <cmath>

#include "agents/training/update_math.h"
#include "tests/threads.h"

namespace cosdt::agents {
namespace {

using torch::Tensor;

double Difference(const Tensor& a, const Tensor& b) {
  return (a.to(torch::kFloat64) - b.to(torch::kFloat64)).abs().max().item<double>();
}

// 0 for dropped elements
Tensor Pattern(int64_t n, const Dropout& dropout) { return Drop(torch::ones({n}), dropout); }

TEST(DropoutTest, DropsTheShareAndScalesTheRest) {
  for (const double p : {0.1, 0.5, 0.9}) {
    const int64_t n = 1'000'000;
    const Tensor x = Pattern(n, {p, 12345});
    const double dropped = x.eq(0).sum().item<double>();
    EXPECT_LT(std::abs(dropped - p * n), 5 * std::sqrt(n * p * (1 - p)));
    EXPECT_FLOAT_EQ(x.max().item<float>(), static_cast<float>(1 / (1 - p)));
  }
}

TEST(DropoutTest, NeighboursAndKeysAreIndependent) {
  const int64_t n = 1'000'000;
  const double p = 0.3;
  const auto dropped = [&](const Dropout& d) { return Pattern(n, d).eq(0); };
  const Tensor x = dropped({p, 7});
  const auto expect_independent = [&](const Tensor& a, const Tensor& b) {
    const auto count = static_cast<double>(a.numel());
    const double both = (a & b).sum().item<double>();
    EXPECT_LT(std::abs(both - p * p * count), 5 * std::sqrt(count * p * p));
  };
  for (const int64_t distance : {1, 2, 3, 16, 128, 4096}) {
    expect_independent(x.slice(0, distance), x.slice(0, 0, n - distance));
  }
  expect_independent(x, dropped({p, 8}));
  expect_independent(x, dropped({p, uint64_t{7} << 32}));
  const Dropout base{p, 7};
  expect_independent(dropped(base.For(0)), dropped(base.For(1)));
  EXPECT_TRUE(torch::equal(dropped(base.For(3)), dropped(base.For(3))));
}

TEST(DropoutTest, TheGradientDropsTheSameElements) {
  const Tensor x = torch::ones({1000}).requires_grad_();
  const Tensor y = Drop(x, {0.4, 3});
  y.sum().backward();
  EXPECT_TRUE(torch::equal(x.grad(), y.detach()));
  const Tensor half = Drop(torch::ones({1000}, torch::kBFloat16), {0.4, 3});
  EXPECT_TRUE(torch::equal(half, y.detach().to(torch::kBFloat16)));
}

TEST(DropoutTest, EveryTypeAndDeviceDropsTheSameElements) {
  // float64 takes the operations that a GPU without our kernels takes
  const Tensor x = torch::ones({70'000});
  for (const uint64_t key :
       {uint64_t{0}, uint64_t{12345}, ~uint64_t{0}, uint64_t{0x8000000180000001}}) {
    for (const double p : {0.1, 0.5}) {
      const Tensor fused = Drop(x, {p, key});
      EXPECT_TRUE(torch::equal(Drop(x.to(torch::kFloat64), {p, key}).to(torch::kFloat32), fused));
      const update_math::Dropper scalar(p, key);  // as CUDA's kernels drop
      const float* const values = fused.const_data_ptr<float>();
      bool same = true;
      for (int64_t i = 0; i < fused.numel(); ++i) same = same && values[i] == scalar(1, i);
      EXPECT_TRUE(same);
    }
  }
}

TEST(AddNormTest, ItsKernelEqualsTheComposition) {
  torch::manual_seed(1);
  for (const int64_t width : {1, 5, 16, 33, 128, 200}) {
    for (const bool with_x : {true, false}) {
      const Dropout dropout{0.2, 99};
      torch::nn::LayerNorm fused(torch::nn::LayerNormOptions({width}));
      torch::nn::LayerNorm exact(torch::nn::LayerNormOptions({width}));
      {
        const torch::NoGradGuard no_grad;
        fused->weight.normal_();
        fused->bias.normal_();
        exact->to(torch::kFloat64);
        exact->weight.copy_(fused->weight);
        exact->bias.copy_(fused->bias);
      }
      const Tensor x = torch::randn({3, 101, width}), update = torch::randn({3, 101, width});
      const Tensor grad_sum = torch::randn_like(x), grad_norm = torch::randn_like(x);
      const auto run = [&](torch::nn::LayerNorm& norm, torch::ScalarType type) {
        const Tensor a = x.to(type).clone().requires_grad_();
        const Tensor b = update.to(type).clone().requires_grad_();
        const auto [sum, out] = AddNorm(with_x ? a : Tensor(), b, dropout, norm);
        ((sum * grad_sum.to(type)).sum() + (out * grad_norm.to(type)).sum()).backward();
        return std::vector<Tensor>{sum.detach(), out.detach(),        with_x ? a.grad() : b.grad(),
                                   b.grad(),     norm->weight.grad(), norm->bias.grad()};
      };
      const auto found = run(fused, torch::kFloat32), expected = run(exact, torch::kFloat64);
      for (size_t i = 0; i < found.size(); ++i) {
        const double scale = std::max(1.0, expected[i].abs().max().item<double>());
        EXPECT_LT(Difference(found[i], expected[i]) / scale, 5e-5) << width << " " << i;
      }
    }
  }
}

TEST(AddNormTest, OutputsThatNobodyReadsHaveNoGradient) {
  torch::nn::LayerNorm norm(torch::nn::LayerNormOptions({8}));
  const Tensor update = torch::randn({4, 8}).requires_grad_();
  AddNorm({}, update, {}, norm).first.sum().backward();
  EXPECT_TRUE(torch::equal(update.grad(), torch::ones({4, 8})));
  EXPECT_THROW(AddNorm({}, torch::zeros({4, 7}), {}, norm), c10::Error);
  EXPECT_THROW(AddNorm(torch::zeros({3, 8}), update, {}, norm), c10::Error);
}

TEST(AddNormTest, BFloat16RoundsOnlyWhatIsNormalised) {
  torch::manual_seed(2);
  torch::nn::LayerNorm norm(torch::nn::LayerNormOptions({64}));
  const Tensor x = torch::randn({50, 64}), update = torch::randn({50, 64}).to(torch::kBFloat16);
  const auto [sum, out] = AddNorm(x, update, {}, norm);
  EXPECT_EQ(sum.scalar_type(), torch::kFloat32);
  EXPECT_TRUE(torch::equal(sum, x + update.to(torch::kFloat32)));
  const auto exact = AddNorm(x, update.to(torch::kFloat32), {}, norm).second;
  EXPECT_TRUE(torch::equal(out, exact.to(torch::kBFloat16)));
}

TEST(LinearTest, ComputesInTheInputsType) {
  torch::nn::Linear in(24, 40), out(40, 24);
  const Tensor x = torch::randn({2, 7, 24}).to(torch::kBFloat16);
  for (const std::string activation : {"relu", "gelu"}) {
    const Tensor y = Mlp(x, in, out, activation);
    EXPECT_EQ(y.scalar_type(), torch::kBFloat16);
    const Tensor hidden = in(x.to(torch::kFloat32));
    const Tensor exact = out(activation == "relu" ? torch::relu(hidden) : torch::gelu(hidden));
    EXPECT_LT(Difference(y, exact), 0.02);
  }
}

// Sizes at which LibTorch's own operations, below 32,768 elements, take one thread.
TEST(LayersThreadsTest, EveryKernelTakesThem) {
  const torch::NoGradGuard no_grad;
  const Tensor many = torch::ones({100'000});
  EXPECT_EQ(ThreadsBegun(2, [&] { Drop(many, {0.1, 1}); }), 1u);
  torch::nn::LayerNorm norm(torch::nn::LayerNormOptions({128}));
  const Tensor rows = torch::randn({600, 128});
  EXPECT_EQ(ThreadsBegun(2, [&] { AddNorm(rows, rows, {0.1, 1}, norm); }), 1u);
}

TEST(LayersThreadsTest, EveryGradientTakesThem) {
  const auto begun_by = [](const std::vector<Tensor>& outputs, const std::vector<Tensor>& inputs) {
    std::vector<Tensor> grads;
    for (const Tensor& out : outputs) grads.push_back(torch::ones_like(out));
    return ThreadsBegun(
        2, [&] { torch::autograd::grad(outputs, inputs, grads, /*retain_graph=*/true); });
  };
  const Tensor many = torch::ones({100'000}).requires_grad_();
  EXPECT_EQ(begun_by({Drop(many, {0.1, 1})}, {many}), 1u);
  torch::nn::LayerNorm norm(torch::nn::LayerNormOptions({32}));
  const Tensor x = torch::randn({600, 32}), update = torch::randn({600, 32}).requires_grad_();
  EXPECT_EQ(begun_by({AddNorm(x, update, {0.1, 1}, norm).second}, {update, norm->weight}), 1u);
}

TEST(LayersThreadsTest, DoNotChangeABit) {
  torch::manual_seed(4);
  torch::nn::LayerNorm norm(torch::nn::LayerNormOptions({48}));
  const Tensor x = torch::randn({1000, 48});
  const auto run = [&] {
    const Tensor update = x.clone().requires_grad_();
    const auto [sum, y] = AddNorm(x, Drop(update, {0.2, 5}), {0.1, 6}, norm);
    const std::vector<Tensor> outputs = {sum, y};
    std::vector<Tensor> grads;
    for (const Tensor& o : outputs) grads.push_back(torch::cos(o).detach());
    std::vector<Tensor> results =
        torch::autograd::grad(outputs, {update, norm->weight, norm->bias}, grads);
    for (const Tensor& o : outputs) results.push_back(o.detach());
    return results;
  };
  const std::vector<Tensor> one = OnThreads(1, run);
  for (const int threads : {2, 3, 7}) {
    const std::vector<Tensor> several = OnThreads(threads, run);
    for (size_t i = 0; i < one.size(); ++i) {
      EXPECT_TRUE(torch::equal(one[i], several[i])) << i << ", " << threads << " threads";
    }
  }
}

}  // namespace
}  // namespace cosdt::agents
