#include "agents/adamw.h"

#include <cmath>

namespace cosdt::agents {
namespace {

using torch::Tensor;

constexpr int64_t kAlignment = 16;  // numbers: parameters begin at whole cache lines

}  // namespace

AdamW::AdamW(torch::nn::Module& module, double weight_decay) : weight_decay_(weight_decay) {
  const torch::NoGradGuard no_grad;
  std::vector<Tensor> parameters = module.parameters();
  int64_t size = 0;
  for (const Tensor& p : parameters) {
    TORCH_CHECK_TYPE(p.scalar_type() == torch::kFloat32,
                     "AdamW: expected parameters in Float, found ", p.scalar_type());
    size += (p.numel() + kAlignment - 1) / kAlignment * kAlignment;
  }
  parameters_ = torch::zeros({size}, parameters.at(0).options().requires_grad(false));
  gradients_ = torch::zeros_like(parameters_);
  first_ = torch::zeros_like(parameters_);
  second_ = torch::zeros_like(parameters_);
  scratch_ = torch::zeros_like(parameters_);
  int64_t begin = 0;
  for (Tensor& p : parameters) {
    const Tensor place = parameters_.narrow(0, begin, p.numel()).view(p.sizes());
    place.copy_(p);
    p.set_data(place);
    p.mutable_grad() = gradients_.narrow(0, begin, p.numel()).view(p.sizes());
    begin += (p.numel() + kAlignment - 1) / kAlignment * kAlignment;
  }
}

void AdamW::ZeroGradients() { gradients_.zero_(); }

torch::Tensor AdamW::GradientNorm() const { return gradients_.norm(); }

AdamW::Scalars AdamW::ScalarsOf(int64_t step, double learning_rate) const {
  const auto t = static_cast<double>(step);
  return {1 - learning_rate * weight_decay_, std::sqrt(1 - std::pow(kBeta2, t)),
          learning_rate / (1 - std::pow(kBeta1, t))};
}

void AdamW::Step(double learning_rate, double gradient_scale) {
  const torch::NoGradGuard no_grad;
  const Scalars s = ScalarsOf(++steps_, learning_rate);
  if (gradient_scale != 1) gradients_.mul_(gradient_scale);
  parameters_.mul_(s.decay);
  first_.lerp_(gradients_, 1 - kBeta1);
  second_.mul_(kBeta2).addcmul_(gradients_, gradients_, 1 - kBeta2);
  torch::sqrt_out(scratch_, second_).div_(s.root_correction).add_(kEpsilon);
  parameters_.addcdiv_(first_, scratch_, -s.rate);
}

void AdamW::Step(const Tensor& scalars, const Tensor& gradient_scale, const Tensor& change) {
  const torch::NoGradGuard no_grad;
  gradients_.mul_(gradient_scale);
  first_.lerp_(gradients_, 1 - kBeta1);
  second_.mul_(kBeta2).addcmul_(gradients_, gradients_, 1 - kBeta2);
  torch::sqrt_out(scratch_, second_).div_(scalars[1]).add_(kEpsilon);
  const Tensor changed = parameters_ * scalars[0] - first_ / scratch_ * scalars[2];
  parameters_.copy_(torch::where(change, changed, parameters_));
}

torch::Tensor AdamW::NextScalars(double learning_rate) const {
  const Scalars s = ScalarsOf(steps_ + 1, learning_rate);
  return torch::tensor({s.decay, s.root_correction, s.rate}, torch::kFloat64);
}

void AdamW::Save(Safetensors& file) const {
  file.tensors["adamw.first"] = first_;
  file.tensors["adamw.second"] = second_;
}

void AdamW::Load(const std::string& path, const Safetensors& file, int64_t steps) {
  first_.copy_(file.Get(path, "adamw.first", first_.sizes(), torch::kFloat32));
  second_.copy_(file.Get(path, "adamw.second", second_.sizes(), torch::kFloat32));
  steps_ = steps;
}

}  // namespace cosdt::agents
