// The parallel form of every kind, over the table of cases: against the naive reference, causality,
// padding, strides, batch shapes, threads, and properties of single kinds.
#include "attention/attention.h"

#include <gtest/gtest.h>

#include <limits>

#include "attention/cases.h"
#include "attention/linear_core.h"
#include "attention/linear_op.h"
#include "attention/registry.h"
#include "tests/attention/golden_cosformer.h"
#include "tests/attention/harness.h"
#include "tests/attention/reference.h"
#include "tests/threads.h"

namespace cosdt::attention {
namespace {

using torch::Tensor;

class AttentionTest : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Kinds, AttentionTest, testing::ValuesIn([] {
                           std::vector<std::string> names;
                           for (const AttentionKind& kind : AttentionKinds()) {
                             names.push_back(kind.name);
                           }
                           return names;
                         }()),
                         [](const auto& test) { return test.param; });

TEST_P(AttentionTest, MatchesTheNaiveReference) {
  for (const Case& c : CheckedCases(GetParam())) {
    for (const auto type : {torch::kFloat32, torch::kBFloat16, torch::kFloat64}) {
      for (const bool padded : {false, true}) {
        ExpectMatchesReference(c, MakeExample(c, type, padded), Tolerance(type));
      }
    }
  }
}

TEST_P(AttentionTest, MatchesTheNaiveReferenceWithoutTheCausalLimit) {
  if (FindAttentionKind(GetParam()).causal_only) GTEST_SKIP() << "causal only";
  for (Case c : CheckedCases(GetParam())) {
    if (c.length > 300 || c.options.half_life > 0) continue;
    c.options.causal = false;
    for (const bool padded : {false, true}) {
      const int64_t key_length =
          GetParam() == "identity" ? c.length : std::max<int64_t>(1, c.length * 3 / 4);
      ExpectMatchesReference(c, MakeExample(c, torch::kFloat32, padded), 2e-5);
      ExpectMatchesReference(c, MakeExample(c, torch::kFloat64, padded, key_length), 1e-11);
    }
  }
}

// A check that shares nothing with the reference's differentiation.
TEST_P(AttentionTest, GradientsMatchFiniteDifferences) {
  for (const auto& [length, width] : {std::pair{9, 3}, {130, 2}}) {
    const Case c{CaseOptions(GetParam(), length), 2, 2, length, width, width};
    Attention attention(c.options, width);
    const Example e = MakeExample(c, torch::kFloat64, true);
    const std::vector<Tensor> gradients =
        Differentiate(e, torch::kFloat64, [&](const Tensor& q, const Tensor& k, const Tensor& v) {
          return attention->forward(q, k, v, e.key_mask);
        });
    std::vector<Tensor> x = {e.q, e.k, e.v};
    for (size_t i = 0; i < 3; ++i) {
      const Tensor direction = torch::randn_like(x[i]);
      const auto loss = [&](double step) {
        std::vector<Tensor> moved = x;
        moved[i] = x[i] + step * direction;
        return (attention->forward(moved[0], moved[1], moved[2], e.key_mask) * e.grad)
            .sum()
            .item<double>();
      };
      constexpr double kStep = 1e-6;  // few values change sign under ReLU within it
      const double expected = (loss(kStep) - loss(-kStep)) / (2 * kStep);
      const double found = (gradients[i + 1] * direction).sum().item<double>();
      EXPECT_NEAR(found, expected, 1e-5 * std::max(1.0, std::abs(expected)))
          << c.Name() << ", input " << i;
    }
  }
}

TEST_P(AttentionTest, LaterTokensDoNotChangeABit) {
  for (const int64_t length : {5, 60, 97, 500}) {
    const Case c{CaseOptions(GetParam(), length), 2, 2, length, 16, 16};
    for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
      Attention attention(c.options, c.width);
      const Example e = MakeExample(c, type, false);
      const Tensor before = attention->forward(e.q, e.k, e.v);
      for (const int64_t token : {length - 1, length / 2}) {
        for (const Tensor& x : {e.q, e.k, e.v}) x.narrow(2, token, length - token).add_(1);
        const Tensor after = attention->forward(e.q, e.k, e.v);
        EXPECT_TRUE(SameBits(before.narrow(2, 0, token), after.narrow(2, 0, token))) << c.Name();
        EXPECT_FALSE(SameBits(before, after));
      }
    }
  }
}

TEST_P(AttentionTest, PaddingChangesNoBitAndGetsNoGradient) {
  for (const bool causal : {true, false}) {
    if (!causal && FindAttentionKind(GetParam()).causal_only) continue;
    for (const int64_t length : {7, 60, 400}) {
      Case c{CaseOptions(GetParam(), length), 3, 2, length, 16, 16};
      c.options.causal = causal;
      Attention attention(c.options, c.width);
      Example e = MakeExample(c, torch::kFloat32, true);
      const auto run = [&] {
        std::vector<Tensor> results = Differentiate(
            e, torch::kFloat32, [&](const Tensor& q, const Tensor& k, const Tensor& v) {
              return attention->forward(q, k, v, e.key_mask);
            });
        EXPECT_TRUE(results[0].isfinite().all().item<bool>()) << c.Name();
        results[0] = RealRows(results[0], e.key_mask);
        return results;
      };
      const std::vector<Tensor> zeros = run();
      const Tensor padding = ~e.key_mask.unsqueeze(1).unsqueeze(-1);
      for (Tensor* x : {&e.q, &e.k, &e.v}) {
        *x = torch::where(padding, torch::randn_like(*x) * 1e4, *x);
      }
      const std::vector<Tensor> noise = run();
      for (size_t i = 0; i < zeros.size(); ++i) {
        EXPECT_TRUE(SameBits(zeros[i], noise[i])) << c.Name() << ", result " << i;
        EXPECT_EQ(torch::where(padding, noise[i], 0).abs().max().item<float>(), 0)
            << c.Name() << ", result " << i;
      }
    }
  }
}

TEST_P(AttentionTest, LeavingPaddingOutAgrees) {
  const Case c{CaseOptions(GetParam(), 150), 1, 2, 150, 16, 16};
  Attention attention(c.options, c.width);
  Example e = MakeExample(c, torch::kFloat32, false);
  e.key_mask = torch::ones({1, 150}, torch::kBool);
  e.key_mask.narrow(1, 0, 40).fill_(false);
  const Tensor padded = attention->forward(e.q, e.k, e.v, e.key_mask).narrow(2, 40, 110);
  const Tensor left_out =
      attention->forward(e.q.narrow(2, 40, 110), e.k.narrow(2, 40, 110), e.v.narrow(2, 40, 110));
  EXPECT_LT(LargestError(padded, left_out), 1e-5);
}

TEST_P(AttentionTest, TakesStridedInputs) {
  for (const int64_t length : {60, 400}) {
    const Case c{CaseOptions(GetParam(), length), 2, 3, length, 16, 16};
    Attention attention(c.options, c.width);
    const Tensor packed = torch::randn({2, length, 3, 3, 16}).requires_grad_();
    const std::vector<Tensor> views = packed.permute({2, 0, 3, 1, 4}).unbind(0);
    const Tensor turned = torch::randn({2, 3, 16, length}).transpose(-1, -2);
    for (const Tensor& v : {views[2], turned}) {
      const Tensor out = attention->forward(views[0], views[1], v);
      const Tensor expected =
          attention->forward(views[0].contiguous(), views[1].contiguous(), v.contiguous());
      EXPECT_LT(LargestError(out, expected), 1e-6) << c.Name();
    }
    const Tensor out = attention->forward(views[0], views[1], views[2]);
    const Tensor grad = torch::randn({2, 3, 16, length}).transpose(-1, -2);
    const Tensor found = torch::autograd::grad({out}, {packed}, {grad})[0];
    const Tensor expected = torch::autograd::grad(
        {attention->forward(views[0].contiguous(), views[1].contiguous(), views[2].contiguous())},
        {packed}, {grad.contiguous()})[0];
    EXPECT_LT(LargestError(found, expected), 1e-5) << c.Name();
  }
}

TEST_P(AttentionTest, TakesAnyBatchShape) {
  const Case c{CaseOptions(GetParam(), 20), 6, 2, 20, 8, 8};
  Attention attention(c.options, c.width);
  const Example e = MakeExample(c, torch::kFloat32, true);
  const Tensor out = attention->forward(e.q, e.k, e.v, e.key_mask);
  const auto fold = [](const Tensor& x) { return x.unflatten(0, {2, 3}); };
  EXPECT_TRUE(
      SameBits(fold(out), attention->forward(fold(e.q), fold(e.k), fold(e.v), fold(e.key_mask))));
  EXPECT_LT(LargestError(attention->forward(e.q[4], e.k[4], e.v[4], e.key_mask[4]), out[4]), 1e-6);
  EXPECT_LT(
      LargestError(attention->forward(e.q[4][1], e.k[4][1], e.v[4][1], e.key_mask[4]), out[4][1]),
      1e-6);
}

TEST_P(AttentionTest, NotANumberPropagates) {
  const Case c{CaseOptions(GetParam(), 150), 1, 1, 150, 8, 8};
  Attention attention(c.options, c.width);
  const Example e = MakeExample(c, torch::kFloat32, false);
  e.v.select(2, 100).fill_(std::numeric_limits<float>::quiet_NaN());
  const Tensor out = attention->forward(e.q, e.k, e.v);
  EXPECT_TRUE(out.select(2, 100).isnan().all().item<bool>());
}

// LibTorch promises no such thing for the other kinds' operations.
TEST(AttentionThreadsTest, DoNotChangeABit) {
  for (const char* kind : {"cosformer", "linear"}) {
    for (const auto& [heads, length] : {std::pair<int64_t, int64_t>{4, 60}, {1, 2500}}) {
      const Case c{CaseOptions(kind, length), 1, heads, length, 8, 8};
      Attention attention(c.options, c.width);
      const Example e = MakeExample(c, torch::kFloat32, false);
      const auto run = [&] {
        return Differentiate(e, torch::kFloat32,
                             [&](const Tensor& q, const Tensor& k, const Tensor& v) {
                               return attention->forward(q, k, v);
                             });
      };
      const std::vector<Tensor> one = OnThreads(1, run);
      for (const int threads : {2, 4, 7}) {
        const std::vector<Tensor> several = OnThreads(threads, run);
        for (size_t i = 0; i < one.size(); ++i) {
          EXPECT_TRUE(SameBits(one[i], several[i])) << c.Name() << ", " << threads << " threads";
        }
      }
    }
  }
}

// Heads, and the segments of a single head: nothing but the operator's own loops.
TEST(AttentionThreadsTest, BothPassesTakeThem) {
  for (const auto& [heads, length] : {std::pair<int64_t, int64_t>{4, 60}, {1, 2500}}) {
    const auto random = [&, h = heads, l = length] { return torch::randn({1, h, l, 8}); };
    const Tensor q = random(), k = random(), v = random(), grad = random();
    const LinearForm form{.features = FeatureMap::kEluPlusOne, .reweight_length = 3 * length};
    Tensor out = torch::empty_like(v), normalizer = torch::empty({1, heads, length});
    const auto forward = [&] { CausalLinearForward({q, k, v, {}, {}}, form, out, normalizer); };
    EXPECT_EQ(ThreadsBegun(2, forward), 1u) << heads;
    Tensor grad_q = torch::empty_like(q), grad_k = torch::empty_like(k),
           grad_v = torch::empty_like(v);
    const auto backward = [&] {
      CausalLinearBackward(grad, {q, k, v, {}, {}}, form, out, normalizer, grad_q, grad_k, grad_v);
    };
    EXPECT_EQ(ThreadsBegun(2, backward), 1u) << heads;
  }
}

TEST(CosformerAttentionTest, MatchesGoldenValuesOfThePapersEquation) {
  for (const GoldenCosformer& golden : kGoldenCosformer) {
    const std::vector<int64_t> shape = {golden.length, golden.width};
    const auto tensor = [&](const std::vector<double>& x) {
      return torch::tensor(x, torch::kFloat64).view(shape);
    };
    AttentionOptions options;
    options.reweight_length = golden.reweight_length;
    options.causal = golden.causal;
    Attention attention(options, golden.width);
    const Tensor q = tensor(golden.q).requires_grad_(), k = tensor(golden.k).requires_grad_(),
                 v = tensor(golden.v).requires_grad_();
    const Tensor out = attention->forward(q, k, v);
    out.backward(tensor(golden.grad));
    EXPECT_LT(LargestError(out, tensor(golden.out)), 1e-13);
    EXPECT_LT(LargestError(q.grad(), tensor(golden.grad_q)), 1e-13);
    EXPECT_LT(LargestError(k.grad(), tensor(golden.grad_k)), 1e-13);
    EXPECT_LT(LargestError(v.grad(), tensor(golden.grad_v)), 1e-13);
  }
}

TEST(CosformerAttentionTest, WithoutReweightingMatchesTheReference) {
  for (Case c : CheckedCases("cosformer")) {
    c.options.reweight = false;
    c.options.reweight_length = 0;
    for (const bool causal : {true, false}) {
      if (!causal && c.options.half_life > 0) continue;
      c.options.causal = causal;
      ExpectMatchesReference(c, MakeExample(c, torch::kFloat32, true), 2e-5);
    }
  }
}

TEST(CosformerAttentionTest, WithEluFeaturesMatchesTheReference) {
  for (Case c : CheckedCases("cosformer")) {
    c.options.feature_map = "elu";
    for (const auto type : {torch::kFloat32, torch::kBFloat16, torch::kFloat64}) {
      ExpectMatchesReference(c, MakeExample(c, type, true), Tolerance(type));
    }
    if (c.length > 300 || c.options.half_life > 0) continue;
    c.options.causal = false;
    ExpectMatchesReference(c, MakeExample(c, torch::kFloat32, true), 2e-5);
  }
}

TEST(CosformerAttentionTest, ClampsTheNormaliserIfNothingIsInCommon) {
  Case c{CaseOptions("cosformer", 40), 2, 2, 40, 16, 16};
  for (const auto type : {torch::kFloat32, torch::kFloat64}) {
    Example e = MakeExample(c, type, false);
    e.q.narrow(2, 3, 20).clamp_max_(0);  // no weight at all
    e.q.select(2, 30).mul_(1e-9);        // below eps, and with a gradient
    ExpectMatchesReference(c, e, Tolerance(type));
    Attention attention(c.options, c.width);
    EXPECT_EQ(attention->forward(e.q, e.k, e.v).narrow(2, 3, 20).abs().max().item<double>(), 0);
  }
}

TEST(CosformerAttentionTest, ComposedFormAgreesAndHasSecondDerivatives) {
  for (const Case& c : CheckedCases("cosformer")) {
    const Example e = MakeExample(c, torch::kFloat64, true);
    const LinearForm form{.features = FeatureMap::kRelu,
                          .reweight_length = c.options.reweight_length,
                          .half_life = c.options.half_life};
    const auto run = [&](auto attend) {
      return Differentiate(e, torch::kFloat64,
                           [&](const Tensor& q, const Tensor& k, const Tensor& v) {
                             return attend(Inputs{q, k, v, e.key_mask, {}}, form);
                           });
    };
    const std::vector<Tensor> fused = run(CausalLinear), composed = run(CausalLinearComposed);
    for (size_t i = 0; i < fused.size(); ++i) {
      EXPECT_LT(LargestError(fused[i], composed[i]), 1e-11) << c.Name() << ", result " << i;
    }
  }
  const Tensor x = torch::rand({1, 1, 5, 3}, torch::kFloat64).requires_grad_();
  const LinearForm form{.reweight_length = 10};
  const auto second = [&](auto attend) {
    const Tensor out = attend(Inputs{x, x, x, {}, {}}, form);
    const Tensor grad = torch::autograd::grad({out.square().sum()}, {x}, {}, true, true)[0];
    return torch::autograd::grad({grad.sum()}, {x})[0];
  };
  EXPECT_TRUE(second(CausalLinearComposed).isfinite().all().item<bool>());
  EXPECT_THROW(second(CausalLinear), c10::Error);
}

TEST(CosformerAttentionTest, IsARegisteredOperator) {
  EXPECT_TRUE(torch::Dispatcher::singleton().findSchema({"cosdt::causal_linear_attention", ""}));
}

TEST(PerformerAttentionTest, EstimatesSoftmaxWithFeaturesDrawnBySeed) {
  AttentionOptions options;
  options.kind = "performer";
  options.features = 4096;
  options.seed = 1;
  Attention performer(options, 16);
  options.kind = "softmax";
  Attention softmax(options, 16);
  torch::manual_seed(2);
  const Tensor q = torch::randn({1, 2, 50, 16}) / 2, k = torch::randn({1, 2, 50, 16}) / 2,
               v = torch::randn({1, 2, 50, 16});
  const Tensor first = performer->forward(q, k, v);
  EXPECT_LT((first - softmax->forward(q, k, v)).abs().mean().item<float>(), 0.05);
  options.kind = "performer";
  EXPECT_TRUE(SameBits(first, Attention(options, 16)->forward(q, k, v)));
  options.seed = 2;
  EXPECT_FALSE(SameBits(first, Attention(options, 16)->forward(q, k, v)));
  const Tensor w = performer->named_buffers()["projection"].narrow(0, 0, 16);
  const Tensor products = torch::matmul(w, w.t());
  EXPECT_LT((products - products.diag().diag()).abs().max().item<double>(), 1e-12);
}

TEST(AttentionModuleTest, PrintsAndClonesItself) {
  Attention attention(CaseOptions("performer", 10), 4);
  EXPECT_NE(c10::str(attention).find("performer, features=5, causal"), std::string::npos);
  const auto copy = std::dynamic_pointer_cast<AttentionImpl>(attention->clone());
  EXPECT_TRUE(
      SameBits(copy->named_buffers()["projection"], attention->named_buffers()["projection"]));
}

}  // namespace
}  // namespace cosdt::attention
