#include "agents/models/actions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cosdt::agents {
namespace {

using torch::Tensor;

TEST(ActionsTest, DiscreteOnesAreOneHotVectors) {
  const Tensor actions = torch::tensor({{{2.f}, {0.f}, {kNoAction}}});
  EXPECT_TRUE(torch::equal(EncodeActions(actions, 3),
                           torch::tensor({{{0.f, 0.f, 1.f}, {1.f, 0.f, 0.f}, {0.f, 0.f, 0.f}}})));
  EXPECT_TRUE(torch::equal(EncodeActions(actions, 0), actions));
}

TEST(ActionsTest, SaysWhatIsWrong) {
  const auto message = [](int64_t size, int64_t discrete) -> std::string {
    try {
      ValidateActions("agent", size, discrete);
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message(3, 0), "");
  EXPECT_EQ(message(1, 4), "");
  EXPECT_EQ(message(0, 0), "agent: action_size: expected at least 1, found 0");
  EXPECT_EQ(message(2, 4), "agent: action_size: expected 1 of discrete actions, found 2");
  EXPECT_EQ(message(1, -1), "agent: discrete_actions: expected 0 or more, found -1");
}

TEST(ActionLossTest, IsTheMeanOverRealSteps) {
  const Tensor predicted = torch::tensor({{{1.f, 2.f}, {3.f, 4.f}}});
  const Tensor actions = torch::tensor({{{0.f, 0.f}, {1.f, 1.f}}});
  const Tensor mask = torch::tensor({{false, true}});
  EXPECT_FLOAT_EQ(ActionLoss(predicted, actions, mask).item<float>(), (4 + 9) / 2.f);
  EXPECT_FLOAT_EQ(ActionLoss(predicted, actions, {}).item<float>(), (1 + 4 + 4 + 9) / 4.f);
}

TEST(ActionLossTest, OfDiscreteActionsIsPyTorchsCrossEntropy) {
  torch::manual_seed(1);
  const Tensor logits = torch::randn({5, 7, 4}) * 3, actions = torch::randint(4, {5, 7, 1});
  const Tensor all = torch::ones({5, 7}, torch::kBool);
  const Tensor mask = torch::rand({5, 7}) > 0.3;
  for (const Tensor& real : {all, mask}) {
    const Tensor expected = torch::nn::functional::cross_entropy(logits.index({real}),
                                                                 actions.squeeze(-1).index({real}));
    EXPECT_NEAR(ActionLoss(logits, actions.to(torch::kFloat32), real, 4).item<double>(),
                expected.item<double>(), 1e-6);
  }
  EXPECT_FLOAT_EQ(ActionLoss(logits, actions.to(torch::kFloat32), {}, 4).item<float>(),
                  ActionLoss(logits, actions.to(torch::kFloat32), all, 4).item<float>());
}

}  // namespace
}  // namespace cosdt::agents
