#include "agents/training/critic_guide.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "envs/registry.h"

namespace cosdt::agents {
namespace {

constexpr size_t kMeanRows = 100'000;

std::string SizeText(int64_t observations, int64_t actions) {
  return std::to_string(observations) + " observations and " + std::to_string(actions) + " actions";
}

std::string BodyOfEnv(const std::string& env) {
  return env.empty() ? "" : envs::ParseEnvName(env).body;
}

}  // namespace

double CriticGuide::DefaultLambda(const std::string& env) {
  return BodyOfEnv(env) == "hopper" ? 0.5 : 1.0;
}

CriticGuide::CriticGuide(const Checkpoint& critic, const datasets::Episodes& episodes,
                         double lambda)
    : agent_(critic.agent), normalizer_(critic.info.normalizer), episodes_(episodes) {
  const AgentOptions& options = agent_->options();
  if (!options.has_critics()) {
    throw std::invalid_argument("critic: expected an agent of td3bc, rebrac or iql, found " +
                                options.name());
  }
  const std::string expected = SizeText(episodes.observation_size, episodes.action_size),
                    found = SizeText(options.observation_size(), options.action_size());
  if (expected != found || episodes.discrete_actions > 0) {
    throw std::invalid_argument("critic: expected one for " + expected + ", found one for " +
                                found);
  }
  const auto range =
      episodes.env.empty() ? std::nullopt : envs::MakeEnv(episodes.env)->spec().score_range;
  if (!range) {
    throw std::invalid_argument("critic: expected data of a body with D4RL's scores, found " +
                                (episodes.env.empty() ? "none" : episodes.env));
  }
  agent_->actor_critic()->critics.PrepareBackward();
  mean_q_ = MeanQ();
  if (!std::isfinite(mean_q_) || mean_q_ == 0) {
    throw std::invalid_argument("critic: expected a mean Q of the data other than 0, found " +
                                std::to_string(mean_q_));
  }
  const double best = BodyOfEnv(episodes.env) == "halfcheetah" ? 0.9 : 1.1;
  for (const double episode_return : episodes.returns) {
    const double normalized = envs::NormalizedScore(*range, episode_return) / 100;
    const double weight = std::max(0.0, 100 * lambda * (best - normalized));
    weights_.push_back(static_cast<float>(weight / std::abs(mean_q_)));
  }
}

double CriticGuide::MeanQ() const {
  const auto o = static_cast<size_t>(episodes_.observation_size),
             a = static_cast<size_t>(episodes_.action_size);
  const size_t every = (episodes_.rows() + kMeanRows - 1) / kMeanRows;
  const size_t rows = (episodes_.rows() + every - 1) / every;
  std::vector<float> pairs(rows * (o + a)), values(rows);
  for (size_t i = 0; i < rows; ++i) {
    float* const to = pairs.data() + i * (o + a);
    normalizer_.Apply(std::span(episodes_.observations).subspan(i * every * o, o), {to, o});
    std::copy_n(episodes_.actions.begin() + static_cast<ptrdiff_t>(i * every * a), a, to + o);
  }
  MlpPasses passes;
  passes.Begin(static_cast<int64_t>(rows));
  passes.SmallestOutputs(agent_->actor_critic()->critics,
                         {pairs.data(), static_cast<ptrdiff_t>(o + a)}, values.data());
  double sum = 0;
  for (const float value : values) sum += value;
  return sum / static_cast<double>(rows);
}

void CriticGuide::Fill(std::span<const datasets::Window> windows, std::span<float> observations,
                       std::span<float> weights) const {
  const auto size = static_cast<size_t>(episodes_.observation_size);
  const size_t window_size = observations.size() / windows.size();
  for (size_t i = 0; i < windows.size(); ++i) {
    const datasets::Window& window = windows[i];
    const size_t count = static_cast<size_t>(window.length) * size;
    const std::span to = observations.subspan(i * window_size, window_size);
    std::ranges::fill(to.first(window_size - count), 0.0f);
    const size_t from = (episodes_.offsets[window.episode] + window.start) * size;
    normalizer_.Apply(std::span(episodes_.observations).subspan(from, count), to.last(count));
    weights[i] = weights_[window.episode];
  }
}

void CriticGuide::Gradients(MlpPasses& passes, kernels::Rows pairs, int64_t rows, float* values,
                            kernels::Rows to) const {
  passes.Begin(rows);
  passes.InputGradients(agent_->actor_critic()->critics, MlpPasses::Through::kSmaller, pairs, 1,
                        observation_size(), action_size(), values, to);
}

// Linear in the predicted actions, with the value and the gradient of the term at them.
torch::Tensor CriticGuide::Loss(const torch::Tensor& predicted, const torch::Tensor& mask,
                                const torch::Tensor& observations,
                                const torch::Tensor& weights) const {
  const torch::Tensor at = predicted.detach();
  const torch::Tensor pairs =
      torch::cat({observations, at.to(torch::kCPU, torch::kFloat32)}, -1).contiguous();
  const int64_t rows = mask.numel();
  torch::Tensor values = torch::empty(mask.sizes());
  torch::Tensor gradients = torch::empty(at.sizes());
  MlpPasses passes;
  Gradients(passes, {pairs.data_ptr<float>(), pairs.size(-1)}, rows, values.data_ptr<float>(),
            {gradients.data_ptr<float>(), action_size()});
  const torch::Tensor moved = (predicted - at) * gradients.to(at.device());
  const torch::Tensor real = mask.to(torch::kFloat32);
  const torch::Tensor steps =
      (values.to(at.device()) + moved.sum(-1)) * weights.to(at.device()).unsqueeze(-1) * real;
  return -steps.sum() / real.sum();
}

}  // namespace cosdt::agents
