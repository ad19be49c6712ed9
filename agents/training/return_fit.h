#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "agents/mlp/learned.h"
#include "agents/mlp/mlp_passes.h"
#include "agents/models/return_predictor.h"
#include "datasets/episodes.h"
#include "datasets/normalizer.h"

namespace cosdt::agents {

// Expectile regression of a network with one output by Adam (Reinformer, arXiv 2405.08740):
//   u = target - output,   L = mean of |expectile - 1(u < 0)| u^2
// An expectile of 0.5 is the mean; towards 1 it is the largest target of like inputs. float32 on
// the CPU; the bits do not depend on the number of threads.
class ExpectileFit {
 public:
  // Takes the network, of one member, with its parameters as they are; it must outlive this object.
  ExpectileFit(MlpStack& network, double expectile);

  // One update on inputs [rows, inputs] and targets [rows]. Returns the loss before it.
  double Update(kernels::Rows inputs, std::span<const float> targets, double learning_rate);

 private:
  MlpStack& network_;
  float expectile_;
  Learned learned_;
  MlpPasses passes_;
};

// Fits a predictor to the returns-to-go of single steps, all of which are equally likely, with an
// expectile of 0.99: updates of 256 steps at a learning rate that falls from 1e-3 to 0. Draws
// weights and steps from `seed`. Throws std::invalid_argument if the loss is not finite.
inline constexpr int64_t kReturnFitUpdates = 2000;
std::shared_ptr<const ReturnPredictor> FitReturnPredictor(const datasets::Episodes& episodes,
                                                          const datasets::Normalizer& normalizer,
                                                          double return_scale, int64_t max_timestep,
                                                          uint64_t seed,
                                                          int64_t updates = kReturnFitUpdates);

}  // namespace cosdt::agents
