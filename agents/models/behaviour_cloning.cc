#include "agents/models/behaviour_cloning.h"

#include <stdexcept>
#include <string>

namespace cosdt::agents {

void BehaviourCloningOptions::Validate() const {
  const auto check = [](const char* name, int64_t found) {
    if (found >= 1) return;
    throw std::invalid_argument(std::string("behaviour cloning: ") + name +
                                ": expected at least 1, found " + std::to_string(found));
  };
  check("observation_size", observation_size);
  ValidateActions(kName, action_size, discrete_actions);
  check("layers", layers);
  check("width", width);
}

double BehaviourCloningOptions::WeightCount() const {
  const auto w = static_cast<double>(width);
  return (static_cast<double>(observation_size) + 1) * w +
         (static_cast<double>(layers) - 1) * (w + 1) * w +
         (w + 1) * static_cast<double>(action_features());
}

BehaviourCloningImpl::BehaviourCloningImpl(const BehaviourCloningOptions& options)
    : options_(options) {
  options_.Validate();
  int64_t width = options_.observation_size;
  for (int64_t i = 0; i < options_.layers; ++i) {
    layers_->push_back(torch::nn::Linear(width, options_.width));
    width = options_.width;
  }
  layers_->push_back(torch::nn::Linear(width, options_.action_features()));
  register_module("layers", layers_);
}

torch::Tensor BehaviourCloningImpl::forward(const torch::Tensor& observations) {
  TORCH_CHECK_VALUE(observations.dim() >= 1 && observations.size(-1) == options_.observation_size,
                    "behaviour cloning: observations: expected shape [.., ",
                    options_.observation_size, "], found ", observations.sizes());
  torch::Tensor x = observations;
  for (size_t i = 0; i < layers_->size(); ++i) {
    if (i > 0) x = torch::relu(x);
    x = layers_->at<torch::nn::LinearImpl>(i).forward(x);
  }
  return options_.discrete_actions > 0 ? x : torch::tanh(x);
}

}  // namespace cosdt::agents
