// Training on several processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "agents/models/actor_critic.h"
#include "agents/training/trainer.h"
#include "tests/agents/processes/run_group.h"
#include "tests/agents/training/small_training.h"

namespace cosdt::agents {
namespace {

using testing::Each;

std::unique_ptr<AgentTrainer> MakeMember(const AgentOptions& agent, const TrainerOptions& options,
                                         const datasets::Episodes& episodes, ProcessGroup* group) {
  // ranks are threads here, which share LibTorch's generator
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  torch::manual_seed(3);
  return MakeTrainer(MakeAgent(agent), episodes, datasets::MakeNormalizer(episodes), options,
                     nullptr, group);
}

torch::Tensor Weights(AgentTrainer& trainer) {
  std::vector<torch::Tensor> all;
  for (const torch::Tensor& weight : trainer.agent().module().parameters()) {
    all.push_back(weight.detach().clone().flatten());
  }
  return torch::cat(all);
}

// The agents of the updates' ways: without autograd, and with it; with both kinds of actions; with
// critics.
std::vector<AgentOptions> Agents() {
  std::vector<AgentOptions> agents(4, SmallAgent("dt"));
  agents[1].dt.width = 12;  // by autograd
  agents[2] = SmallAgent("bc");
  agents[3].dt.tokens = 2;
  agents[3].dt.discrete_actions = 4;
  agents[3].dt.action_size = 1;
  for (const std::string kind : {"td3bc", "rebrac", "iql", "iql"}) {
    agents.push_back(SmallAgent(kind));
  }
  agents.back().iql.deterministic = true;
  return agents;
}

TEST(ProcessesTest, AfterAHundredUpdatesWeightsAreThoseOfOneProcessToRounding) {
  TrainerOptions options = FastTraining();
  options.learning_rate = 1e-3;
  for (const AgentOptions& agent : Agents()) {
    const datasets::Episodes episodes =
        agent.discrete_actions() > 0 ? MakeDiscreteEpisodes() : MakeEpisodes();
    const auto alone = MakeMember(agent, options, episodes, nullptr);
    const torch::Tensor begin = Weights(*alone);
    const double loss = alone->Update(100).back().loss;
    const torch::Tensor expected = Weights(*alone);
    const double moved = (expected - begin).norm().item<double>();
    for (const int size : {2, 3}) {
      const auto errors = RunGroup(size, [&](ProcessGroup& group) {
        const auto member = MakeMember(agent, options, episodes, &group);
        EXPECT_NEAR(member->Update(100).back().loss, loss, 1e-4 * loss);
        group.ExpectSame("weights", member->Digest());
        EXPECT_LT((Weights(*member) - expected).norm().item<double>(), 1e-3 * moved);
        group.Finish();
      });
      EXPECT_THAT(errors, Each("")) << agent.name() << " " << size;
    }
  }
}

// The first update shows the gradients: dropout's pattern and the mean over real steps are those of
// the whole batch.
TEST(ProcessesTest, TheFirstGradientIsThatOfOneProcess) {
  TrainerOptions options = FastTraining();
  options.batch_size = 17;
  for (AgentOptions agent : Agents()) {
    agent.dt.dropout = 0.4;
    const datasets::Episodes episodes =
        agent.discrete_actions() > 0 ? MakeDiscreteEpisodes() : MakeEpisodes();
    const UpdateResult alone = MakeMember(agent, options, episodes, nullptr)->Update(1)[0];
    for (const int size : {2, 5, 17}) {
      const auto errors = RunGroup(size, [&](ProcessGroup& group) {
        const UpdateResult result = MakeMember(agent, options, episodes, &group)->Update(1)[0];
        EXPECT_NEAR(result.loss, alone.loss, 1e-6 * alone.loss);
        EXPECT_NEAR(result.gradient_norm, alone.gradient_norm, 1e-6 * alone.gradient_norm);
        group.Finish();
      });
      EXPECT_THAT(errors, Each("")) << agent.name() << " " << size;
    }
  }
}

TEST(ProcessesTest, AStopOfOneIsAStopOfAll) {
  const datasets::Episodes episodes = MakeEpisodes();
  for (const std::string kind : {"dt", "td3bc", "iql"}) {
    const auto errors = RunGroup(3, [&](ProcessGroup& group) {
      const auto member = MakeMember(SmallAgent(kind), FastTraining(), episodes, &group);
      member->Update(1);
      EXPECT_FALSE(member->is_asked_to_stop());
      member->AskToStop(group.rank() == 2);
      member->Update(1);
      EXPECT_TRUE(member->is_asked_to_stop());
      group.Finish();
    });
    EXPECT_THAT(errors, Each("")) << kind;
  }
}

TEST(ProcessesTest, AnUpdateThatIsNotFiniteInOneEndsAll) {
  const datasets::Episodes episodes = MakeEpisodes();
  TrainerOptions options = FastTraining();
  for (const std::string kind : {"dt", "bc", "td3bc", "iql"}) {
    const auto errors = RunGroup(2, [&](ProcessGroup& group) {
      const auto member = MakeMember(SmallAgent(kind), options, episodes, &group);
      member->Update(2);
      const std::string before = member->Digest();
      const torch::NoGradGuard no_grad;
      const ActorCritic* const critic = member->agent().actor_critic();
      const torch::Tensor weight =
          critic ? critic->critics.parameters() : member->agent().module().parameters()[0];
      const torch::Tensor good = weight.clone();
      if (group.rank() == 1) weight.fill_(std::numeric_limits<float>::quiet_NaN());
      {
        const torch::AutoGradMode grad(true);
        EXPECT_THROW(member->Update(1), NotFiniteError);
      }
      weight.copy_(good);
      EXPECT_EQ(member->Digest(), before);
      EXPECT_EQ(member->updates(), 2);
      group.Finish();
    });
    EXPECT_THAT(errors, Each("")) << kind;
  }
}

TEST(ProcessesTest, TheFirstsStateIsTakenByAll) {
  const datasets::Episodes episodes = MakeEpisodes();
  for (const std::string kind : {"dt", "rebrac", "iql"}) {
    const auto errors = RunGroup(2, [&](ProcessGroup& group) {
      const auto member = MakeMember(SmallAgent(kind), FastTraining(), episodes, &group);
      if (group.is_first()) {
        const std::string path = testing::TempDir() + "state_of_first.safetensors";
        const auto alone = MakeMember(SmallAgent(kind), FastTraining(), episodes, nullptr);
        alone->Update(7);
        alone->Save(path);
        member->Restore(path);
      }
      member->TakeStateOfFirst();
      EXPECT_EQ(member->updates(), 7);
      group.ExpectSame("state", member->Digest());
      const UpdateResult next = member->Update(1)[0];
      group.ExpectSame("loss", std::to_string(next.loss));
      group.Finish();
    });
    EXPECT_THAT(errors, Each("")) << kind;
  }
}

TEST(ProcessesTest, MoreProcessesThanWindowsAreRefused) {
  const datasets::Episodes episodes = MakeEpisodes();
  TrainerOptions options = FastTraining();
  options.batch_size = 2;
  for (const auto& [kind, rows] : {std::pair("dt", "windows"), std::pair("iql", "rows")}) {
    const auto errors = RunGroup(3, [&, kind = std::string(kind)](ProcessGroup& group) {
      MakeMember(SmallAgent(kind), options, episodes, &group);
    });
    EXPECT_THAT(errors, Each("processes: expected at most 2, the " + std::string(rows) +
                             " of a batch, found 3"));
  }
}

}  // namespace
}  // namespace cosdt::agents
