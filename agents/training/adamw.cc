#include "agents/training/adamw.h"

#include <cmath>

#include "agents/processes/batch_share.h"

namespace cosdt::agents {
namespace {

using torch::Tensor;

constexpr int64_t kAlignment = 16;  // elements: parameters begin at whole cache lines

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
  message_ = torch::zeros({size + BatchShare::kNotes}, parameters_.options());
  gradients_ = message_.narrow(0, 0, size);
  first_ = torch::zeros_like(parameters_);
  second_ = torch::zeros_like(parameters_);
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

AdamW::Scalars AdamW::NextScalars(double learning_rate, int64_t ahead) const {
  const auto t = static_cast<double>(steps_ + 1 + ahead);
  return {1 - learning_rate * weight_decay_, std::sqrt(1 - std::pow(kBeta2, t)),
          learning_rate / (1 - std::pow(kBeta1, t))};
}

void AdamW::Step(double learning_rate, double gradient_scale) {
  const torch::NoGradGuard no_grad;
  ++steps_;
  const auto scalar = [&](double x) { return torch::full({}, x, parameters_.options()); };
  at::_fused_adamw_({parameters_}, {gradients_}, {first_}, {second_}, /*max_exp_avg_sqs=*/{},
                    {scalar(static_cast<double>(steps_))}, learning_rate, kBeta1, kBeta2,
                    weight_decay_, kEpsilon, /*amsgrad=*/false, /*maximize=*/false,
                    /*grad_scale=*/scalar(1 / gradient_scale));
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
