#include "agents/behaviour/sac.h"

#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <numbers>
#include <random>
#include <stdexcept>

namespace cosdt::agents {
namespace {

constexpr double kMinLogStd = -20, kMaxLogStd = 2;

// The policy's actions for a batch, and what their gradients need.
struct Sample {
  torch::Tensor log_std;    // before the clamp, [rows, action_size]
  torch::Tensor std;        // after it
  torch::Tensor actions;    // [rows, action_size]
  torch::Tensor log_probs;  // [rows]
};

// outputs [rows, 2 action_size] are the policy's, noise [rows, action_size] standard normal.
Sample SampleActions(const torch::Tensor& outputs, const torch::Tensor& noise) {
  const int64_t size = noise.size(1);
  Sample sample;
  sample.log_std = outputs.narrow(1, size, size);
  const torch::Tensor log_std = sample.log_std.clamp(kMinLogStd, kMaxLogStd);
  sample.std = log_std.exp();
  const torch::Tensor u = torch::addcmul(outputs.narrow(1, 0, size), sample.std, noise);
  sample.actions = u.tanh();
  // log N(u) - log(1 - tanh(u)^2), the latter as 2 (log 2 - u - softplus(-2u))
  const double constant = 0.5 * std::log(2 * std::numbers::pi) + 2 * std::numbers::ln2;
  sample.log_probs =
      (at::softplus(u * -2).add_(u).mul_(2) - log_std - noise.square() * 0.5).sub_(constant).sum(1);
  return sample;
}

MlpStack MakeInitialised(int64_t members, int64_t inputs, int64_t hidden, int64_t outputs,
                         const torch::Generator& generator) {
  MlpStack stack(members, inputs, hidden, outputs);
  stack.Initialise(generator);
  return stack;
}

Sac::Learned MakeLearned(const torch::Tensor& parameters) {
  return {parameters, torch::zeros_like(parameters), torch::zeros_like(parameters),
          torch::zeros({1})};
}

const SacOptions& Valid(const SacOptions& options) {
  options.Validate();
  return options;
}

void AdamStep(Sac::Learned& learned, const torch::Tensor& gradients, double lr) {
  learned.steps.add_(1);
  at::_fused_adam_({learned.parameters}, {gradients}, {learned.first_moment},
                   {learned.second_moment}, {}, {learned.steps}, lr, 0.9, 0.999, 0, 1e-8, false,
                   false);
}

}  // namespace

void SacOptions::Validate() const {
  const auto expect = [](bool good, const char* field, const char* expected, double found) {
    if (good) return;
    throw std::invalid_argument(std::string(field) + ": expected " + expected + ", found " +
                                std::to_string(found));
  };
  expect(hidden >= 1, "hidden", "at least 1", static_cast<double>(hidden));
  expect(batch_size >= 1, "batch_size", "at least 1", static_cast<double>(batch_size));
  expect(lr > 0, "lr", "a number above 0", lr);
  expect(tau > 0 && tau <= 1, "tau", "a number above 0 and at most 1", tau);
  expect(gamma >= 0 && gamma < 1, "gamma", "a number from 0 to below 1", gamma);
}

Sac::Sac(const envs::EnvSpec& spec, const SacOptions& options, uint64_t seed)
    : Sac(spec, Valid(options), at::make_generator<at::CPUGeneratorImpl>(seed)) {}

Sac::Sac(const envs::EnvSpec& spec, const SacOptions& options, const torch::Generator& generator)
    : observation_size_(spec.observation_size),
      action_size_(spec.action_size),
      options_(options),
      policy_(MakeInitialised(1, observation_size_, options.hidden, 2 * action_size_, generator)),
      critics_(MakeInitialised(2, observation_size_ + action_size_, options.hidden, 1, generator)),
      targets_(2, observation_size_ + action_size_, options.hidden, 1),
      log_alpha_(torch::zeros({1})),
      temperature_gradient_(torch::zeros({1})),
      learned_policy_(MakeLearned(policy_.parameters())),
      learned_critics_(MakeLearned(critics_.parameters())),
      learned_temperature_(MakeLearned(log_alpha_)) {
  targets_.parameters().copy_(critics_.parameters());
}

SacLosses Sac::ComputeGradients(const SacBatch& batch, const torch::Tensor& noise) {
  const torch::NoGradGuard no_grad;
  const int64_t rows = batch.observations.size(0);
  const double scale = 1.0 / static_cast<double>(rows);
  const float alpha = std::exp(log_alpha_.item<float>());

  // one pass of the policy, for the actions now and for those of the next states
  policy_.Forward(torch::cat({batch.observations, batch.next_observations}), policy_activations_);
  const Sample sample = SampleActions(policy_activations_.outputs[0].t(), noise);
  const torch::Tensor actions = sample.actions.narrow(0, 0, rows);
  const torch::Tensor log_probs = sample.log_probs.narrow(0, 0, rows);

  targets_.Forward(torch::cat({batch.next_observations, sample.actions.narrow(0, rows, rows)}, 1),
                   target_activations_);
  const torch::Tensor next_values = target_activations_.outputs.squeeze(1).amin(0).sub_(
      sample.log_probs.narrow(0, rows, rows), alpha);
  const torch::Tensor returns =
      batch.rewards + next_values * (1 - batch.terminals) * options_.gamma;

  // one pass of the critics, for the batch's actions and for the policy's
  const torch::Tensor of_batch = torch::cat({batch.observations, batch.actions}, 1);
  critics_.Forward(torch::cat({of_batch, torch::cat({batch.observations, actions}, 1)}),
                   critic_activations_);
  const MlpStack::Activations at_batch = critic_activations_.Rows(0, rows);
  const MlpStack::Activations at_policy = critic_activations_.Rows(rows, rows);
  const torch::Tensor errors = at_batch.outputs - returns;
  critics_.Backward(of_batch, at_batch, errors * (2 * scale));

  // the policy's gradient flows through the smaller of the two critics
  const torch::Tensor values = at_policy.outputs.squeeze(1);
  const torch::Tensor first_is_smaller = (values[0] <= values[1]).to(torch::kFloat);
  const torch::Tensor value_gradients =
      torch::stack({first_is_smaller, 1 - first_is_smaller}).unsqueeze(1).mul_(-scale);
  const torch::Tensor action_gradients =
      critics_.InputGradients(at_policy, value_gradients, observation_size_, action_size_);
  // d log pi / du = 2 tanh(u); d log pi / d log std = -1 besides its way through u
  const torch::Tensor u_gradients =
      action_gradients * (1 - actions.square()) + actions * (2 * alpha * scale);
  const torch::Tensor log_std = sample.log_std.narrow(0, 0, rows);
  const torch::Tensor log_std_gradients =
      (u_gradients * sample.std.narrow(0, 0, rows) * noise.narrow(0, 0, rows))
          .sub_(alpha * scale)
          .mul_(log_std.ge(kMinLogStd).logical_and_(log_std.le(kMaxLogStd)));
  policy_.Backward(batch.observations, policy_activations_.Rows(0, rows),
                   torch::cat({u_gradients, log_std_gradients}, 1).t().contiguous().unsqueeze(0));

  const float mean_log_prob = log_probs.mean().item<float>();
  const float surplus = static_cast<float>(action_size_) - mean_log_prob;  // target: -action_size
  temperature_gradient_.fill_(surplus);

  SacLosses losses;
  losses.critic = static_cast<float>(errors.square().sum().item<float>() * scale);
  losses.policy = alpha * mean_log_prob - values.amin(0).mean().item<float>();
  losses.temperature = std::log(alpha) * surplus;
  losses.entropy = -mean_log_prob;
  losses.alpha = alpha;
  return losses;
}

void Sac::Step() {
  const torch::NoGradGuard no_grad;
  AdamStep(learned_policy_, policy_.gradients(), options_.lr);
  AdamStep(learned_critics_, critics_.gradients(), options_.lr);
  AdamStep(learned_temperature_, temperature_gradient_, options_.lr);
  targets_.parameters().lerp_(critics_.parameters(), options_.tau);
}

float Sac::Act(std::span<const float> observation, envs::Rng& rng, std::span<float> action) {
  const torch::NoGradGuard no_grad;
  std::normal_distribution<float> normal;
  torch::Tensor noise = torch::empty({1, action_size_});
  for (int64_t i = 0; i < action_size_; ++i) noise.data_ptr<float>()[i] = normal(rng);
  torch::Tensor inputs = torch::empty({1, observation_size_});
  std::ranges::copy(observation, inputs.data_ptr<float>());
  policy_.Forward(inputs, act_activations_);
  const Sample sample = SampleActions(act_activations_.outputs[0].t(), noise);
  std::copy_n(sample.actions.const_data_ptr<float>(), action_size_, action.begin());
  return sample.log_probs.item<float>();
}

datasets::PolicyWeights Sac::weights() const {
  // weight is [outputs, inputs] of the outputs [begin, begin + count) of a layer
  const auto convert = [](const torch::Tensor& all, const torch::Tensor& biases, int64_t begin,
                          int64_t count) {
    const torch::Tensor weight = all.narrow(0, begin, count).contiguous();
    const torch::Tensor bias = biases.flatten().narrow(0, begin, count).contiguous();
    datasets::LinearWeights linear;
    linear.inputs = static_cast<int>(weight.size(1));
    linear.outputs = static_cast<int>(count);
    linear.weight.assign(weight.const_data_ptr<float>(),
                         weight.const_data_ptr<float>() + weight.numel());
    linear.bias.assign(bias.const_data_ptr<float>(), bias.const_data_ptr<float>() + count);
    return linear;
  };
  const MlpStack::Layers& layers = policy_.layers();
  const auto hidden = [&](const MlpStack::Layer& layer) {
    return convert(layer.weight[0].t(), layer.bias, 0, options_.hidden);
  };
  const auto head = [&](int64_t begin) {
    return convert(layers[2].weight[0], layers[2].bias, begin, action_size_);
  };
  return {hidden(layers[0]), hidden(layers[1]), head(0), head(action_size_)};
}

std::vector<std::pair<std::string, torch::Tensor>> Sac::State() const {
  std::vector<std::pair<std::string, torch::Tensor>> state;
  const auto add = [&](const std::string& name, const Learned& learned) {
    state.emplace_back(name + "/parameters", learned.parameters);
    state.emplace_back(name + "/first_moment", learned.first_moment);
    state.emplace_back(name + "/second_moment", learned.second_moment);
    state.emplace_back(name + "/steps", learned.steps);
  };
  add("policy", learned_policy_);
  add("critics", learned_critics_);
  add("log_alpha", learned_temperature_);
  state.emplace_back("targets/parameters", targets_.parameters());
  return state;
}

}  // namespace cosdt::agents
