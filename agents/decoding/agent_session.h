// A trained agent that acts: raw observations and rewards in, raw actions out.
//
//   cosdt::agents::AgentSession agent("run/last.safetensors");
//   agent.Reset(3600);
//   while (..) step = env->Step(agent.Act(observation, step.reward));
#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "agents/decoding/decoder_factory.h"
#include "agents/models/candidate_critic.h"
#include "agents/models/checkpoint.h"
#include "envs/env.h"
#include "envs/thread_pool.h"

namespace cosdt::agents {

struct SessionOptions {
  DecodeMode decode = DecodeMode::kWindow;
  int horizon = 1000;  // the longest episode in steps, for the recurrent mode
  // or bfloat16: the blocks' matrix products are in it on processors that are faster so
  // (CpuComputeType), for kinds that CheckComputeType takes
  torch::ScalarType compute_type = torch::kFloat32;
  int threads = 1;
  // chooses each action among those for several returns-to-go; null without
  std::shared_ptr<const CandidateCritic> critic = nullptr;
};

// One or more episodes in lock step. The only place that scales returns-to-go and normalises
// observations for acting. A row's actions do not depend on the other rows or on threads.
class AgentSession {
 public:
  // Reads a checkpoint, or takes one. Throws FileError (datasets/file_error.h) if the file is
  // damaged, and what DecoderFactory and CandidateCritic::ExpectFits throw.
  explicit AgentSession(const std::string& checkpoint, const SessionOptions& options = {});
  explicit AgentSession(Checkpoint checkpoint, const SessionOptions& options = {});

  // Begins an episode in as many rows as there are targets: info().targets are those that the agent
  // was trained for. A row with Target::Auto() asks at every step for the return-to-go that
  // info().return_predictor gives for its observation; rewards do not change it, and steps before
  // keep the one that they asked for. Behaviour cloning reads no targets.
  // Discrete actions are the most likely ones; with `seeds`, one per row, they are drawn from the
  // softmax of the logits, by each row from its own stream. Several candidates need seeds, too.
  // Throws std::invalid_argument for another number of seeds, seeds by which nothing is drawn, and
  // auto without a predictor.
  void Reset(std::span<const Target> targets, std::span<const uint64_t> seeds = {});
  void Reset(Target target) { Reset({&target, 1}); }

  // The actions [rows, action_size], in (-1, 1) or indices, for observations [rows,
  // observation_size] as the environment gives them. rewards [rows] are what the last actions
  // earned; they lower the returns-to-go, and are not read in the first step. The result stays
  // valid until the next call. Throws std::invalid_argument for other sizes, std::logic_error
  // before Reset.
  std::span<const double> Act(std::span<const double> observations,
                              std::span<const double> rewards);
  std::span<const double> Act(std::span<const double> observation, double reward) {
    return Act(observation, {&reward, 1});
  }

  // Continues with these rows alone, an ascending list of indices; the others have ended.
  void Keep(std::span<const int> rows);

  // How many episodes are best played side by side (DecoderFactory).
  int RowsAtOnce() const {
    return std::max(1, factory_->RowsAtOnce(pool_->threads()) / candidates());
  }

  // The threads that decide, for environments that step in turn with them.
  envs::ThreadPool& pool() { return *pool_; }

  const CheckpointInfo& info() const { return checkpoint_.info; }
  const Agent& agent() const { return *checkpoint_.agent; }

 private:
  // A row of the decoder: a candidate of an episode, whose candidates follow one another.
  struct Row {
    Target target;
    double share;  // of the target that it asks for
    double to_go;  // unscaled; of auto not read
  };

  int candidates() const { return critic_ ? critic_->candidates() : 1; }
  void AskForReturns();
  void Choose(std::span<const double> observations);

  Checkpoint checkpoint_;
  std::unique_ptr<envs::ThreadPool> pool_;
  std::unique_ptr<DecoderFactory> factory_;
  std::unique_ptr<Decoder> decoder_;
  std::shared_ptr<const CandidateCritic> critic_;
  int64_t step_ = 0;  // that is next
  std::vector<Row> rows_;
  std::vector<envs::Rng> draws_;  // of each episode, if actions are drawn
  std::vector<float> returns_to_go_, predicted_, observations_, outputs_, actions_;
  std::vector<double> wide_actions_;
};

}  // namespace cosdt::agents
