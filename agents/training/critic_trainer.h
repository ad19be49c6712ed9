#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agents/critics/learner.h"
#include "agents/critics/transitions.h"
#include "agents/training/agent_trainer.h"
#include "agents/training/trainer.h"

namespace cosdt::agents {

// Trains actor-critic agents from transitions, on the CPU. The same seed gives the same weights,
// bit for bit, with any number of threads. Takes batch size, learning rate and seed of its
// options, and lr_decay for IQL's actor alone, as CORL has it.
class CriticTrainer : public AgentTrainer {
 public:
  // Critics' values count as diverged if their mean is this many times beyond what any policy can
  // earn, the largest reward / (1 - discount).
  static constexpr double kDiverged = 100;

  // Takes the agent's weights as they are; episodes and the group, which may be null, must outlive
  // this object. Throws std::invalid_argument if the agent has no critics or is not on the CPU, or
  // if the group has more processes than a batch has rows, and what Transitions throws.
  CriticTrainer(std::shared_ptr<Agent> agent, const datasets::Episodes& episodes,
                const datasets::Normalizer& normalizer, const TrainerOptions& options,
                ProcessGroup* group = nullptr);

  // Throws NotFiniteError if the critics' loss or gradient is not finite or their values diverge;
  // all state is then that of the updates before.
  std::vector<UpdateResult> Update(int64_t count) override;

  std::string update_path() const override { return "cpu"; }
  int64_t updates() const override { return updates_; }
  Agent& agent() override { return *agent_; }

  void Save(const std::string& path,
            std::map<std::string, std::string> metadata = {}) const override;
  std::map<std::string, std::string> Restore(const std::string& path) override;

 private:
  std::vector<torch::Tensor> Arrays() const override;
  void SetUpdates(int64_t updates) override { updates_ = updates; }
  UpdateResult UpdateOnce(CriticLosses& losses);
  double ActorRate() const;

  std::shared_ptr<Agent> agent_;
  TrainerOptions options_;
  Transitions transitions_;
  std::unique_ptr<CriticLearner> learner_;
  TransitionBatch batch_;
  std::vector<float> noise_;  // of the whole batch
  int64_t updates_ = 0;
};

}  // namespace cosdt::agents
