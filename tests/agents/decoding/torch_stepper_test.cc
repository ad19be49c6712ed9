#include "agents/decoding/torch_stepper.h"

#include <gtest/gtest.h>

#include "attention/registry.h"
#include "tests/agents/training/small_batch.h"

namespace cosdt::agents {
namespace {

using torch::Tensor;

class DecisionTransformerStateTest : public testing::TestWithParam<std::string> {
 protected:
  DecisionTransformerStateTest() : options_(SmallOptions(GetParam())) {
    torch::manual_seed(4);
    options_.context = 30;
    model_ = DecisionTransformer(options_);
    const torch::NoGradGuard no_grad;
    for (Tensor& p : model_->parameters()) p += torch::randn_like(p) * 0.2;
    model_->eval();
    batch_ = MakeSmallBatch(options_, {30, 30, 30});
  }

  // Feeds steps [begin, end) of the batch and gives their predictions, [3, end - begin, action].
  Tensor Feed(TorchStepper& state, int64_t begin, int64_t end) {
    std::vector<Tensor> predicted;
    for (int64_t t = begin; t < end; ++t) {
      predicted.push_back(state.Observe(batch_.returns_to_go.select(1, t),
                                        batch_.observations.select(1, t),
                                        batch_.timesteps.select(1, t)));
      state.Act(batch_.actions.select(1, t));
    }
    return torch::stack(predicted, 1);
  }

  // The parallel form over steps [begin, end).
  Tensor Window(int64_t begin, int64_t end) {
    const torch::NoGradGuard no_grad;
    const auto cut = [&](const Tensor& x) { return x.slice(1, begin, end); };
    return model_(cut(batch_.returns_to_go), cut(batch_.observations), cut(batch_.actions),
                  cut(batch_.timesteps));
  }

  static double Difference(const Tensor& a, const Tensor& b) {
    return (a - b).abs().max().item<double>();
  }

  DecisionTransformerOptions options_;
  DecisionTransformer model_{nullptr};
  SmallBatch batch_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, DecisionTransformerStateTest, testing::ValuesIn([] {
                           std::vector<std::string> names;
                           for (const auto& kind : attention::AttentionKinds()) {
                             names.push_back(kind.name);
                           }
                           return names;
                         }()),
                         [](const auto& test) { return test.param; });

TEST_P(DecisionTransformerStateTest, EqualsTheParallelForm) {
  TorchStepper state(model_, 3);
  EXPECT_LT(Difference(Feed(state, 0, 30), Window(0, 30)), 2e-5);
}

TEST_P(DecisionTransformerStateTest, RowsBeginAnewAndTheOthersGoOn) {
  TorchStepper state(model_, 3);
  Feed(state, 0, 10);
  state.Reset({1});
  const auto copy = state.Copy();
  const Tensor predicted = Feed(state, 10, 30);
  const Tensor whole = Window(0, 30).narrow(1, 10, 20);
  EXPECT_LT(Difference(predicted[0], whole[0]), 2e-5);
  EXPECT_LT(Difference(predicted[2], whole[2]), 2e-5);
  EXPECT_LT(Difference(predicted[1], Window(10, 30)[1]), 2e-5);
  // the copy remembers the same
  EXPECT_TRUE(torch::equal(Feed(*copy, 10, 30), predicted));
}

TEST_P(DecisionTransformerStateTest, AllRowsBeginAnewWithoutATurn) {
  TorchStepper state(model_, 3);
  Feed(state, 0, 4);
  state.Observe(batch_.returns_to_go.select(1, 4), batch_.observations.select(1, 4),
                batch_.timesteps.select(1, 4));
  state.Reset({0, 1, 2});
  EXPECT_LT(Difference(Feed(state, 10, 20), Window(10, 20)), 2e-5);
}

TEST_P(DecisionTransformerStateTest, ComputesInTheModelsType) {
  TorchStepper state(model_, 3);
  const Tensor exact = Feed(state, 0, 8);
  model_->to(torch::kBFloat16);
  TorchStepper half(model_, 3);
  const Tensor rounded = Feed(half, 0, 8);
  EXPECT_EQ(rounded.scalar_type(), torch::kBFloat16);
  EXPECT_LT(Difference(rounded, exact), 0.1);
}

TEST(DecisionTransformerTurnsTest, AreKept) {
  DecisionTransformer model(SmallOptions("cosformer"));
  model->eval();
  TorchStepper state(model, 2);
  const Tensor rows = torch::zeros({2}), observations = torch::zeros({2, 5}),
               times = torch::zeros({2}, torch::kInt64);
  EXPECT_THROW(state.Act(torch::zeros({2, 2})), c10::Error);
  state.Observe(rows, observations, times);
  EXPECT_THROW(state.Observe(rows, observations, times), c10::Error);
  EXPECT_THROW(state.Act(torch::zeros({1, 2})), c10::Error);
  state.Act(torch::zeros({2, 2}));
  EXPECT_THROW(state.Observe(rows, torch::zeros({2, 4}), times), c10::Error);
  EXPECT_THROW(state.Reset({2}), c10::Error);
}

}  // namespace
}  // namespace cosdt::agents
