#include "attention/linear_problem.h"

namespace cosdt::attention {
namespace {

kernels::Array ToArray(const torch::Tensor& x) {
  return {x.data_ptr(), x.stride(0), x.stride(1), x.stride(2)};
}

kernels::Type ToType(torch::ScalarType type) {
  if (type == torch::kFloat64) return kernels::Type::kFloat64;
  return type == torch::kBFloat16 ? kernels::Type::kBFloat16 : kernels::Type::kFloat32;
}

}  // namespace

kernels::Problem MakeProblem(const Inputs& inputs, const LinearForm& form, const torch::Tensor& out,
                             const torch::Tensor& normalizer) {
  kernels::Problem problem;
  problem.type = ToType(inputs.q.scalar_type());
  problem.features = static_cast<kernels::Features>(form.features);
  problem.batch = inputs.q.size(0);
  problem.heads = inputs.q.size(1);
  problem.length = inputs.q.size(2);
  problem.width = inputs.q.size(3);
  problem.value_width = inputs.v.size(3);
  problem.reweight_length = form.reweight_length;
  problem.normalize = form.normalize;
  problem.eps = form.eps;
  problem.half_life = form.half_life;
  problem.q = ToArray(inputs.q);
  problem.k = ToArray(inputs.k);
  problem.v = ToArray(inputs.v);
  if (inputs.key_mask.defined()) problem.mask = inputs.key_mask.const_data_ptr<bool>();
  problem.out = ToArray(out);
  problem.normalizer = form.normalize ? normalizer.data_ptr() : nullptr;
  return problem;
}

void AddGradients(kernels::Problem& problem, const torch::Tensor& grad_out,
                  const torch::Tensor& grad_q, const torch::Tensor& grad_k,
                  const torch::Tensor& grad_v) {
  problem.grad_out = ToArray(grad_out);
  problem.grad_q = ToArray(grad_q);
  problem.grad_k = ToArray(grad_k);
  problem.grad_v = ToArray(grad_v);
}

LinearForm MakeForm(int64_t features, int64_t reweight_length, bool normalize, double eps,
                    double half_life) {
  return {static_cast<FeatureMap>(features), reweight_length, normalize, eps, half_life};
}

}  // namespace cosdt::attention
