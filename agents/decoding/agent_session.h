// A trained agent for programs of one's own: one episode at a time, in a few lines.
//
//   cosdt::agents::AgentSession agent("run/last.safetensors");
//   agent.Reset(3600);
//   while (..) step = env->Step(agent.Act(observation, step.reward));
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "agents/decoding/decoder.h"
#include "agents/models/checkpoint.h"

namespace cosdt::agents {

class AgentSession {
 public:
  // Reads a checkpoint. `horizon` is the longest episode in steps, for the recurrent mode. Computes
  // on the calling thread. Throws FileError (datasets/file_error.h) where the file is damaged, and
  // what DecoderFactory throws.
  explicit AgentSession(const std::string& checkpoint, DecodeMode decode = DecodeMode::kWindow,
                        int horizon = 1000);

  // Begins an episode. `target` is the return to ask for, unscaled: info().targets are those that
  // the agent was trained for. Behaviour cloning does not read it.
  void Reset(double target);

  // The action [action_size], in (-1, 1), for an observation [observation_size] as the environment
  // gives it. `reward` is what the last action earned; it lowers the return to go, and is not read
  // in an episode's first step. The same actions as RolloutAgent's. The result stays valid until
  // the next call. Throws std::invalid_argument for another size, std::logic_error before Reset.
  std::span<const double> Act(std::span<const double> observation, double reward);

  const CheckpointInfo& info() const { return checkpoint_.info; }
  const Agent& agent() const { return checkpoint_.agent; }

 private:
  Checkpoint checkpoint_;
  std::unique_ptr<envs::ThreadPool> pool_;
  std::unique_ptr<DecoderFactory> factory_;
  std::unique_ptr<Decoder> decoder_;
  bool first_step_ = true;
  double to_go_ = 0;
  std::vector<float> observation_, action_;
  std::vector<double> wide_action_;
};

}  // namespace cosdt::agents
