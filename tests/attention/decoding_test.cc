// The step-by-step form of every kind: equal to the parallel form.
#include <gtest/gtest.h>

#include "attention/cases.h"
#include "attention/registry.h"
#include "tests/attention/reference.h"

namespace cosdt::attention {
namespace {

using torch::Tensor;

class DecodingTest : public testing::TestWithParam<std::string> {
 protected:
  // Tokens are [B, H, L, d].
  static Tensor Steps(AttentionState& state, const Tensor& q, const Tensor& k, const Tensor& v,
                      int64_t begin, int64_t end) {
    std::vector<Tensor> outs;
    for (int64_t t = begin; t < end; ++t) {
      outs.push_back(state.Step(q.select(2, t), k.select(2, t), v.select(2, t)));
    }
    return torch::stack(outs, 2);
  }
};

INSTANTIATE_TEST_SUITE_P(Kinds, DecodingTest, testing::ValuesIn([] {
                           std::vector<std::string> names;
                           for (const AttentionKind& kind : AttentionKinds()) {
                             names.push_back(kind.name);
                           }
                           return names;
                         }()),
                         [](const auto& test) { return test.param; });

TEST_P(DecodingTest, EqualsTheParallelForm) {
  std::vector<Case> cases = CheckedCases(GetParam());
  if (GetParam() == "cosformer") {
    std::vector<Case> elu = cases;
    for (Case& c : elu) c.options.feature_map = "elu";
    cases.insert(cases.end(), elu.begin(), elu.end());
  }
  for (const Case& c : cases) {
    if (c.length > 300) continue;
    for (const auto type : {torch::kFloat32, torch::kFloat64, torch::kBFloat16}) {
      torch::manual_seed(5);
      Attention attention(c.options, c.width);
      const Tensor q = torch::randn({c.batch, c.heads, c.length, c.width}).to(type),
                   k = torch::randn({c.batch, c.heads, c.length, c.width}).to(type),
                   v = torch::randn({c.batch, c.heads, c.length, c.value_width}).to(type);
      const auto state = attention->MakeState(c.batch, c.heads, c.value_width, type);
      const Tensor steps = Steps(*state, q, k, v, 0, c.length);
      EXPECT_EQ(steps.scalar_type(), type);
      const double tolerance = type == torch::kFloat64   ? 1e-11
                               : type == torch::kFloat32 ? 2e-5
                                                         : 2e-2;
      EXPECT_LT(LargestError(steps, attention->forward(q, k, v)), tolerance) << c.Name();
    }
  }
}

TEST_P(DecodingTest, OnlySoftmaxGrows) {
  AttentionOptions options = CaseOptions(GetParam(), 4000);
  options.window = 16;
  Attention attention(options, 4);
  const auto state = attention->MakeState(2, 1, 4);
  const int64_t before = state->bytes();
  const Tensor token = torch::ones({2, 1, 4});
  for (int t = 0; t < 200; ++t) state->Step(token, token, token);
  if (GetParam() == "softmax") {
    EXPECT_GE(state->bytes(), 200 * 2 * 2 * 4 * 4);
    EXPECT_LE(state->bytes(), 2 * 200 * 2 * 2 * 4 * 4);
  } else {
    EXPECT_EQ(state->bytes(), before);
  }
}

// What lies beyond M weighs next to nothing, so that M limits no length.
TEST(CosformerDecodingTest, DecayGoesOnBeyondTheReweightLength) {
  AttentionOptions options;
  options.reweight_length = 20;
  options.half_life = 2;
  torch::manual_seed(5);
  const auto draw = [] { return torch::rand({2, 3, 150, 4}, torch::kFloat64); };
  const Tensor q = draw(), k = draw(), v = draw();
  Attention attention(options, 4);
  const auto state = attention->MakeState(2, 3, 4, torch::kFloat64);
  std::vector<Tensor> steps;
  for (int64_t t = 0; t < 150; ++t) {
    steps.push_back(state->Step(q.select(2, t), k.select(2, t), v.select(2, t)));
  }
  EXPECT_LT(LargestError(torch::stack(steps, 2), Reference(q, k, v, {}, options, {})), 1e-11);
}

TEST(CosformerDecodingTest, RefusesToGrowBeyondTheReweightLength) {
  AttentionOptions options;
  options.reweight_length = 3;
  Attention attention(options, 2);
  const auto state = attention->MakeState(2, 1, 2);
  const Tensor token = torch::ones({2, 1, 2});
  for (int t = 0; t < 3; ++t) state->Step(token, token, token);
  try {
    state->Step(token, token, token);
    FAIL();
  } catch (const c10::Error& error) {
    EXPECT_NE(std::string(error.what())
                  .find("a state must not hold more tokens than reweight_length = 3"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace cosdt::attention
