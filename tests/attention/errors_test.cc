// Bad input: an error that names the argument, what was expected and what was found.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention/cases.h"
#include "attention/registry.h"

namespace cosdt::attention {
namespace {

using testing::HasSubstr;
using torch::Tensor;

std::string ErrorOf(const std::function<void()>& call) {
  try {
    call();
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  }
  return "no error";
}

TEST(AttentionErrorsTest, NameTheArgument) {
  const Tensor x = torch::randn({2, 3, 5, 4});
  const Tensor mask = torch::ones({2, 5}, torch::kBool);
  const struct {
    Tensor q, k, v, mask;
    const char* expected;
  } cases[] = {
      {Tensor(), x, x, {}, "q must be a tensor, found none"},
      {torch::randn({4}), x, x, {}, "q must be [.., heads, L, d], found shape [4]"},
      {x, x[0], x, {}, "k must have q's batch and heads [2, 3], found shape [3, 5, 4]"},
      {x, x.narrow(1, 0, 2), x, {}, "k must have q's batch and heads [2, 3]"},
      {x, x, x.narrow(0, 0, 1), {}, "v must have q's batch and heads [2, 3]"},
      {x, x.narrow(3, 0, 2), x, {}, "k must have q's width 4, found shape [2, 3, 5, 2]"},
      {x, x, x.narrow(2, 0, 4), {}, "v must have k's length 5, found shape [2, 3, 4, 4]"},
      {x, x.narrow(2, 0, 4), x.narrow(2, 0, 4), {}, "causal attention needs k of q's length 5"},
      {torch::randn({2, 3, 0, 4}), x, x, {}, "q must not be empty, found shape [2, 3, 0, 4]"},
      {x, x, torch::randn({2, 3, 5, 0}), {}, "v must not be empty, found shape [2, 3, 5, 0]"},
      {x.to(torch::kInt64), x, x, {}, "q must be float32, bfloat16 or float64, found Long"},
      {x.to(torch::kHalf), x, x, {}, "q must be float32, bfloat16 or float64, found Half"},
      {x, x.to(torch::kFloat64), x, {}, "k must have q's type Float, found Double"},
      {x, x.to(torch::kMeta), x, {}, "k must be on q's device cpu, found meta"},
      {x, x, x, mask.to(torch::kFloat32), "key_mask must be boolean, found Float"},
      {x, x, x, mask[0], "key_mask must be [.., L_k] = [2, 5], found shape [5]"},
      {x, x, x, torch::ones({2, 6}, torch::kBool), "= [2, 5], found shape [2, 6]"},
  };
  for (const AttentionKind& kind : AttentionKinds()) {
    Attention attention(CaseOptions(kind.name, 5), 4);
    for (const auto& c : cases) {
      EXPECT_THAT(ErrorOf([&] { attention->forward(c.q, c.k, c.v, c.mask); }),
                  HasSubstr(c.expected))
          << kind.name;
    }
  }
}

TEST(AttentionErrorsTest, RefuseLengthsBeyondTheReweightLength) {
  AttentionOptions options;
  options.reweight_length = 6;
  const Tensor six = torch::randn({6, 2}), seven = torch::randn({7, 2});
  Attention causal(options, 2);
  causal->forward(six, six, six);
  EXPECT_THAT(ErrorOf([&] { causal->forward(seven, seven, seven); }),
              HasSubstr("q must not be longer than reweight_length = 6, found length 7"));
  options.causal = false;
  Attention cross(options, 2);
  EXPECT_THAT(ErrorOf([&] { cross->forward(six, seven, seven); }),
              HasSubstr("k must not be longer than reweight_length = 6, found length 7"));
}

TEST(AttentionErrorsTest, RefuseOptionsOutOfRange) {
  const auto error = [](auto change) {
    AttentionOptions options;
    options.reweight_length = 10;
    change(options);
    return ErrorOf([&] { options.Validate(); });
  };
  EXPECT_EQ(error([](AttentionOptions&) {}), "no error");
  EXPECT_THAT(error([](AttentionOptions& o) { o.kind = "cosfromer"; }),
              HasSubstr("kind must be one of cosformer, softmax, linear, performer, local, flow, "
                        "identity, found \"cosfromer\""));
  EXPECT_THAT(error([](AttentionOptions& o) { o.reweight_length = 0; }),
              HasSubstr("reweight_length must be given in tokens and be at least 1, found 0"));
  EXPECT_THAT(error([](AttentionOptions& o) { o.feature_map = "gelu"; }),
              HasSubstr("feature_map must be relu or elu, found gelu"));
  for (const double half_life : {-1.0, 0.4, static_cast<double>(NAN), HUGE_VAL}) {
    EXPECT_THAT(error([&](AttentionOptions& o) { o.half_life = half_life; }),
                HasSubstr("half_life must be 0 or at least 0.5 tokens, found"));
  }
  EXPECT_THAT(error([](AttentionOptions& o) { o.half_life = 2, o.causal = false; }),
              HasSubstr("half_life needs causal options"));
  EXPECT_THAT(error([](AttentionOptions& o) { o.kind = "flow", o.causal = false; }),
              HasSubstr("kind flow is causal only"));
  EXPECT_THAT(error([](AttentionOptions& o) { o.kind = "local", o.window = 0; }),
              HasSubstr("window must be at least 1, found 0"));
  EXPECT_THAT(error([](AttentionOptions& o) { o.kind = "performer", o.features = -1; }),
              HasSubstr("features must be positive"));
}

TEST(AttentionErrorsTest, CheckTokensOfADecodingState) {
  AttentionOptions options;
  options.reweight_length = 10;
  Attention attention(options, 4);
  EXPECT_THAT(ErrorOf([&] { attention->MakeState(0, 1, 4); }), HasSubstr("at least 1, found 0"));
  EXPECT_THAT(ErrorOf([&] { attention->MakeState(1, 1, 4, torch::kInt32); }),
              HasSubstr("type must be float32, bfloat16 or float64, found Int"));
  const auto state = attention->MakeState(2, 1, 4);
  const Tensor x = torch::ones({2, 1, 4});
  EXPECT_THAT(ErrorOf([&] { state->Step(x[0], x, x); }),
              HasSubstr("the token's q must be [2, 1, 4], found shape [1, 4]"));
  EXPECT_THAT(ErrorOf([&] { state->Step(x, x, x.to(torch::kFloat64)); }),
              HasSubstr("the token's v must be float, found double"));
}

}  // namespace
}  // namespace cosdt::attention
