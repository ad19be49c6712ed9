#include "agents/policies/gaussian_policy.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "datasets/hdf5_file.h"

namespace cosdt::agents {
namespace {

// The bits of a row of a matrix product depend on the number of rows: with blocks of a fixed size
// an action does not depend on how many episodes still run.
constexpr int64_t kBlockRows = 32;

}  // namespace

GaussianPolicy::GaussianPolicy(const datasets::PolicyWeights& weights, bool deterministic)
    : deterministic_(deterministic) {
  const auto layer = [](const datasets::LinearWeights& w) {
    return Layer{torch::tensor(w.weight).view({w.outputs, w.inputs}).t(), torch::tensor(w.bias)};
  };
  fc0_ = layer(weights.fc0);
  fc1_ = layer(weights.fc1);
  mean_ = layer(weights.last_fc);
  log_std_ = layer(weights.last_fc_log_std);
  block_ = torch::zeros({kBlockRows, weights.observation_size()});
}

void GaussianPolicy::Act(std::span<const float> observations, std::span<envs::Rng* const> rngs,
                         std::span<float> actions, std::span<float> log_probs) {
  const torch::InferenceMode inference;
  const int64_t rows = static_cast<int64_t>(rngs.size());
  const int64_t observation_size = block_.size(1);
  const int64_t action_size = mean_.bias.size(0);
  std::normal_distribution<float> normal;
  for (int64_t begin = 0; begin < rows; begin += kBlockRows) {
    const int64_t end = std::min(begin + kBlockRows, rows);
    std::copy(observations.begin() + begin * observation_size,
              observations.begin() + end * observation_size, block_.data_ptr<float>());
    const torch::Tensor h = fc1_(fc0_(block_).relu_()).relu_();
    const torch::Tensor mean = mean_(h).contiguous();
    const torch::Tensor std = log_std_(h).clamp_(-20, 2).exp_().contiguous();
    for (int64_t row = begin; row < end; ++row) {
      float log_prob = 0;
      normal.reset();
      for (int64_t i = 0; i < action_size; ++i) {
        const float m = mean.data_ptr<float>()[(row - begin) * action_size + i];
        const float s = std.data_ptr<float>()[(row - begin) * action_size + i];
        const float eps = deterministic_ ? 0.0f : normal(*rngs[row]);
        const float u = m + s * eps;
        actions[row * action_size + i] = std::tanh(u);
        // log(1 - tanh(u)^2), even in u, written so that it stays exact if tanh(u) rounds to 1
        const float v = std::abs(u);
        const float log_slope = 2 * (std::numbers::ln2_v<float> - v - std::log1p(std::exp(-2 * v)));
        log_prob += -0.5f * eps * eps - std::log(s) -
                    0.5f * std::log(2 * std::numbers::pi_v<float>) - log_slope;
      }
      if (!log_probs.empty()) log_probs[row] = log_prob;
    }
  }
}

std::unique_ptr<Policy> LoadGaussianPolicy(const datasets::Hdf5File& file,
                                           const envs::EnvSpec& spec, bool deterministic) {
  const datasets::PolicyWeights weights = datasets::ReadPolicy(file);
  if (spec.discrete_actions > 0) {
    throw datasets::FileError(file.path(), "metadata/policy",
                              "a policy of " + envs::ActionSpace(spec) + " of " + spec.name,
                              "one of continuous actions");
  }
  if (weights.observation_size() != spec.observation_size ||
      weights.action_size() != spec.action_size) {
    const auto sizes = [](int observation, int action) {
      return std::to_string(observation) + " observations and " + std::to_string(action) +
             " actions";
    };
    throw datasets::FileError(file.path(), "metadata/policy",
                              sizes(spec.observation_size, spec.action_size) + " of " + spec.name,
                              sizes(weights.observation_size(), weights.action_size()));
  }
  return std::make_unique<GaussianPolicy>(weights, deterministic);
}

}  // namespace cosdt::agents
