// Training on several processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "agents/models/actor_critic.h"
#include "agents/training/trainer.h"
#include "tests/agents/processes/run_group.h"
#include "tests/agents/processes/store_sum.h"
#include "tests/agents/training/small_training.h"

namespace cosdt::agents {
namespace {

using testing::Each;

std::unique_ptr<AgentTrainer> MakeMember(const AgentOptions& agent, const TrainerOptions& options,
                                         const datasets::Episodes& episodes, ProcessGroup* group,
                                         UpdatePath path = UpdatePath::kOfDevice) {
  // ranks are threads here, which share LibTorch's generator
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  torch::manual_seed(3);
  if (path != UpdatePath::kOfDevice) {
    return std::make_unique<Trainer>(MakeAgent(agent), episodes, datasets::MakeNormalizer(episodes),
                                     options, path, nullptr, group);
  }
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

// What runs on GPUs, here on the CPU and with sums by way of the store: the recordings' two parts.
TEST(ProcessesTest, UpdatesForDevicesAreThoseOfOneProcess) {
  const WithStoreSum emulation;
  const datasets::Episodes episodes = MakeEpisodes();
  TrainerOptions options = FastTraining();
  options.batch_size = 17;
  for (const std::string kind : {"dt", "bc"}) {
    AgentOptions agent = SmallAgent(kind);
    agent.dt.dropout = 0.4;
    for (const UpdatePath path : {UpdatePath::kExplicit, UpdatePath::kAutograd}) {
      const auto alone = MakeMember(agent, options, episodes, nullptr, path);
      const UpdateResult first = alone->Update(1)[0];
      const double last = alone->Update(39).back().loss;
      const auto errors = RunGroup(3, [&](ProcessGroup& group) {
        const auto member = MakeMember(agent, options, episodes, &group, path);
        group.UseDevice(torch::kCPU);
        const int before = StoreSum::sums;
        const UpdateResult own = member->Update(1)[0];
        EXPECT_GT(StoreSum::sums, before);
        EXPECT_NEAR(own.loss, first.loss, 1e-6 * first.loss);
        EXPECT_NEAR(own.gradient_norm, first.gradient_norm, 1e-6 * first.gradient_norm);
        member->AskToStop(group.rank() == 1);
        EXPECT_NEAR(member->Update(39).back().loss, last, 1e-4 * last);
        EXPECT_TRUE(member->is_asked_to_stop());
        group.ExpectSame("weights", member->Digest());
        group.Finish();
      });
      EXPECT_THAT(errors, Each("")) << kind;
    }
  }
}

TEST(ProcessesTest, AGroupOfOneGpuTrainsTheSameBitsAsNone_CUDA) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "needs a CUDA device, of which none is here";
  const datasets::Episodes episodes = MakeEpisodes();
  for (const std::string kind : {"dt", "bc"}) {
    for (const UpdatePath path : {UpdatePath::kExplicit, UpdatePath::kAutograd}) {
      const auto train = [&](ProcessGroup* group) {
        torch::manual_seed(3);
        const auto agent = MakeAgent(SmallAgent(kind));
        agent->module().to(torch::Device(torch::kCUDA, 0));
        Trainer trainer(agent, episodes, datasets::MakeNormalizer(episodes), FastTraining(), path,
                        nullptr, group);
        for (int i = 0; i < 20; ++i) trainer.Update();
        return trainer.Digest();
      };
      const std::string alone = train(nullptr);
      const auto errors = RunGroup(1, [&](ProcessGroup& group) {
        EXPECT_EQ(train(&group), alone);
        group.Finish();
      });
      EXPECT_THAT(errors, Each("")) << kind;
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
