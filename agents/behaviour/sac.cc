#include "agents/behaviour/sac.h"

#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <random>
#include <stdexcept>

#include "agents/kernels/mlp_kernels.h"

namespace cosdt::agents {
namespace {

MlpStack MakeInitialized(int64_t members, int64_t inputs, int64_t hidden, int64_t outputs,
                         const torch::Generator& generator) {
  MlpStack stack(members, inputs, hidden, outputs);
  stack.Initialize(generator);
  return stack;
}

const SacOptions& Valid(const SacOptions& options) {
  options.Validate();
  return options;
}

}  // namespace

void SacOptions::Validate() const {
  const auto expect = [](bool good, const char* field, const char* expected, double found) {
    if (good) return;
    throw std::invalid_argument(std::string(field) + ": expected " + expected + ", found " +
                                std::to_string(found));
  };
  expect(hidden >= 1 && hidden % kernels::kPanel == 0, "hidden", "a positive multiple of 16",
         static_cast<double>(hidden));
  expect(batch_size >= 1, "batch_size", "at least 1", static_cast<double>(batch_size));
  expect(lr > 0, "lr", "a value above 0", lr);
  expect(tau > 0 && tau <= 1, "tau", "a value above 0 and at most 1", tau);
  expect(gamma >= 0 && gamma < 1, "gamma", "a value from 0 to below 1", gamma);
}

Sac::Sac(const envs::EnvSpec& spec, const SacOptions& options, uint64_t seed)
    : Sac(spec, Valid(options), at::make_generator<at::CPUGeneratorImpl>(seed)) {}

Sac::Sac(const envs::EnvSpec& spec, const SacOptions& options, const torch::Generator& generator)
    : observation_size_(spec.observation_size),
      action_size_(spec.action_size),
      options_(options),
      policy_(MakeInitialized(1, observation_size_, options.hidden, 2 * action_size_, generator)),
      critics_(MakeInitialized(2, observation_size_ + action_size_, options.hidden, 1, generator)),
      targets_(2, observation_size_ + action_size_, options.hidden, 1),
      log_alpha_(torch::zeros({1})),
      temperature_gradient_(torch::zeros({1})),
      learned_policy_(policy_.parameters()),
      learned_critics_(critics_.parameters()),
      learned_temperature_(log_alpha_),
      update_(observation_size_, action_size_, options.gamma) {
  targets_.parameters().copy_(critics_.parameters());
}

SacLosses Sac::ComputeGradients(const SacBatch& batch, const torch::Tensor& noise) {
  const torch::NoGradGuard no_grad;
  const SacLosses losses = update_.ComputeGradients(
      batch, noise, std::exp(log_alpha_.item<float>()), {policy_, critics_, targets_});
  // the entropy's target is -action_size
  temperature_gradient_.fill_(static_cast<float>(action_size_) + losses.entropy);
  return losses;
}

void Sac::Step() {
  const torch::NoGradGuard no_grad;
  learned_policy_.Step(policy_.gradients(), options_.lr);
  learned_critics_.Step(critics_.gradients(), options_.lr, targets_.parameters(), options_.tau);
  learned_temperature_.Step(temperature_gradient_, options_.lr);
}

float Sac::Act(std::span<const float> observation, envs::Rng& rng, std::span<float> action) {
  std::normal_distribution<float> normal;
  std::vector<float> inputs(observation.begin(), observation.end());
  std::vector<float> outputs(static_cast<size_t>(2 * action_size_));
  std::vector<float> noise(static_cast<size_t>(action_size_));
  for (float& x : noise) x = normal(rng);
  policy_.Forward(0, {inputs.data(), observation_size_}, 1, policy_.HiddenIn(act_memory_, 1),
                  {outputs.data(), 2 * action_size_});
  act_.Sample({outputs.data(), 2 * action_size_}, noise.data(), 1, action_size_);
  std::copy_n(act_.action(0), action_size_, action.begin());
  return act_.LogProb(0);
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

NamedTensors Sac::State() const {
  NamedTensors state;
  learned_policy_.AddTo(state, "policy", true);
  learned_critics_.AddTo(state, "critics", true);
  learned_temperature_.AddTo(state, "log_alpha", true);
  state.emplace_back("targets/parameters", targets_.parameters());
  return state;
}

}  // namespace cosdt::agents
