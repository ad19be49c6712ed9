#include "agents/decoding/torch_stepper.h"

#include <gtest/gtest.h>

#include "attention/registry.h"
#include "tests/agents/training/small_batch.h"

namespace cosdt::agents {
namespace {

using torch::Tensor;

class TorchStepperTest : public testing::TestWithParam<std::string> {
 protected:
  TorchStepperTest() { Prepare(3); }

  // A model with so many tokens per step.
  void Prepare(int64_t tokens) {
    torch::manual_seed(4);
    options_ = SmallOptions(GetParam());
    options_.tokens = tokens;
    options_.context = 30;
    model_ = DecisionTransformer(options_);
    const torch::NoGradGuard no_grad;
    for (Tensor& p : model_->parameters()) p += torch::randn_like(p) * 0.2;
    model_->eval();
    batch_ = MakeSmallBatch(options_, {30, 30, 30});
  }

  // Feeds steps [begin, end) of the batch and gives their predictions, [3, end - begin, action].
  Tensor Feed(TorchStepper& stepper, int64_t begin, int64_t end) {
    std::vector<Tensor> predicted;
    for (int64_t t = begin; t < end; ++t) {
      predicted.push_back(stepper.Observe(batch_.returns_to_go.select(1, t),
                                          batch_.observations.select(1, t),
                                          batch_.timesteps.select(1, t)));
      stepper.Act(batch_.actions.select(1, t));
    }
    return torch::stack(predicted, 1);
  }

  // The parallel form over steps [begin, end).
  Tensor Window(int64_t begin, int64_t end) {
    const torch::NoGradGuard no_grad;
    const auto cut = [&](const Tensor& x) { return x.slice(1, begin, end); };
    const Tensor before = torch::constant_pad_nd(batch_.actions, {0, 0, 1, -1});
    return model_(cut(batch_.returns_to_go), cut(batch_.observations),
                  cut(options_.tokens == 1 ? before : batch_.actions), cut(batch_.timesteps));
  }

  static double Difference(const Tensor& a, const Tensor& b) {
    return (a - b).abs().max().item<double>();
  }

  DecisionTransformerOptions options_;
  DecisionTransformer model_{nullptr};
  SmallBatch batch_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, TorchStepperTest, testing::ValuesIn([] {
                           std::vector<std::string> names;
                           for (const auto& kind : attention::AttentionKinds()) {
                             names.push_back(kind.name);
                           }
                           return names;
                         }()),
                         [](const auto& test) { return test.param; });

TEST_P(TorchStepperTest, EqualsTheParallelForm) {
  for (const int64_t tokens : {3, 2, 1}) {
    Prepare(tokens);
    TorchStepper stepper(model_, 3);
    EXPECT_LT(Difference(Feed(stepper, 0, 30), Window(0, 30)), 2e-5) << tokens;
  }
}

TEST_P(TorchStepperTest, ComputesInTheModelsType) {
  TorchStepper stepper(model_, 3);
  const Tensor exact = Feed(stepper, 0, 8);
  model_->to(torch::kBFloat16);
  TorchStepper in_bfloat16(model_, 3);
  const Tensor rounded = Feed(in_bfloat16, 0, 8);
  EXPECT_EQ(rounded.scalar_type(), torch::kBFloat16);
  EXPECT_LT(Difference(rounded, exact), 0.1);
}

TEST_P(TorchStepperTest, ReadsTheActionBeforeItsFirstStepWithOneToken) {
  const Tensor before = torch::full({3, 2}, 0.7f);
  for (const int64_t tokens : {3, 2, 1}) {
    Prepare(tokens);
    TorchStepper with(model_, 3, before), without(model_, 3);
    const Tensor a = Feed(with, 0, 2), b = Feed(without, 0, 2);
    EXPECT_EQ(torch::equal(a, b), tokens > 1) << tokens;
  }
}

TEST(TorchStepperTurnsTest, AreKept) {
  DecisionTransformer model(SmallOptions("cosformer"));
  model->eval();
  TorchStepper stepper(model, 2);
  const Tensor rows = torch::zeros({2}), observations = torch::zeros({2, 5}),
               times = torch::zeros({2}, torch::kInt64);
  EXPECT_THROW(stepper.Act(torch::zeros({2, 2})), c10::Error);
  stepper.Observe(rows, observations, times);
  EXPECT_THROW(stepper.Observe(rows, observations, times), c10::Error);
  EXPECT_THROW(stepper.Act(torch::zeros({1, 2})), c10::Error);
  stepper.Act(torch::zeros({2, 2}));
  EXPECT_THROW(stepper.Observe(rows, torch::zeros({2, 4}), times), c10::Error);
}

}  // namespace
}  // namespace cosdt::agents
