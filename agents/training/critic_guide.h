#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "agents/mlp/mlp_passes.h"
#include "agents/models/checkpoint.h"
#include "datasets/episodes.h"
#include "datasets/window_sampler.h"

namespace cosdt::agents {

// A trained critic that guides an imitating agent, as QCS does (arXiv 2402.02017, and its code,
// github.com/beanie00/QCS). To a step's squared error, the mean over the action's
// values, it adds
//   -w(R) / |mean Q of the data| min(Q1, Q2)(s, a^),   w(R) = max(0, 100 lambda (R* - R))
// for the predicted action a^, where R is the normalized return of the step's whole trajectory,
// with 1 for D4RL's expert, and R* is 0.9 for half cheetah, else 1.1: good trajectories are
// imitated, poor ones improved. The critic does not change.
class CriticGuide {
 public:
  // The published lambda: 0.5 for hopper, 1 for half cheetah and walker2d; read in QCS's scripts
  // for half cheetah and hopper medium and walker2d medium-expert.
  static double DefaultLambda(const std::string& env);

  // `episodes` are those that the agent learns from, of a body with D4RL's score range, and must
  // outlive this object. The mean of Q is over at most 100,000 evenly spaced rows. Throws
  // std::invalid_argument if the checkpoint's agent has no critics or other sizes, or if the
  // environment has no score range, and what cannot be divided by.
  CriticGuide(const Checkpoint& critic, const datasets::Episodes& episodes, double lambda);

  // Observations [B, K, observation_size] of windows as the critic takes them, and weights [B],
  // w(R) over the mean of Q. Rows of padding are zero.
  void Fill(std::span<const datasets::Window> windows, std::span<float> observations,
            std::span<float> weights) const;

  // min(Q1, Q2) of pairs [rows, observation, then action] and its gradients of the actions.
  void Gradients(MlpPasses& passes, kernels::Rows pairs, int64_t rows, float* values,
                 kernels::Rows to) const;

  // The mean over real steps, true in `mask` [B, K], of the term above for predicted actions
  // [B, K, action_size] on any device, with their gradient; computed on the CPU.
  torch::Tensor Loss(const torch::Tensor& predicted, const torch::Tensor& mask,
                     const torch::Tensor& observations, const torch::Tensor& weights) const;

  int64_t observation_size() const { return episodes_.observation_size; }
  int64_t action_size() const { return episodes_.action_size; }
  double mean_q() const { return mean_q_; }

 private:
  double MeanQ() const;

  std::shared_ptr<Agent> agent_;
  datasets::Normalizer normalizer_;
  const datasets::Episodes& episodes_;
  double mean_q_ = 0;
  std::vector<float> weights_;  // [episodes]
};

}  // namespace cosdt::agents
