#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <span>

#include "agents/kernels/gemm.h"
#include "agents/mlp/mlp_passes.h"
#include "agents/mlp/mlp_stack.h"
#include "agents/models/target.h"

namespace cosdt::agents {

// Says which return-to-go an agent asks for at a step if its target is auto: about the largest one
// that the data have at such a step, as Reinformer does (arXiv 2405.08740), whose sequence model
// predicts it; here a multilayer perceptron does, two hidden layers of 256, beside any agent. It
// reads a normalized observation and timestep / max_timestep, and gives the return-to-go in units
// of the agent's return scale.
class ReturnPredictor {
 public:
  // All weights are zero.
  ReturnPredictor(int64_t observation_size, int64_t max_timestep);

  int64_t inputs() const { return observation_size_ + 1; }

  // Writes the network's inputs, [inputs()], for a step, counted from 0. Steps from max_timestep on
  // count as the last one before it, as in training.
  void Describe(std::span<const float> observation, int64_t step, std::span<float> to) const;

  // to [rows]: for observations [rows, observation_size]. A row's bits do not depend on the others.
  void Predict(std::span<const float> observations, int64_t step, std::span<float> to) const;

  // The parameters by name: "layers.0.weight" to "layers.2.bias".
  const torch::nn::Module& module() const { return *module_; }

  MlpStack network;

 private:
  int64_t observation_size_, max_timestep_;
  std::shared_ptr<torch::nn::Module> module_;
};

// Throws std::invalid_argument if a target is auto and there is no predictor.
void ExpectPredictorFor(std::span<const Target> targets, const ReturnPredictor* predictor);

}  // namespace cosdt::agents
