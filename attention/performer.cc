#include "attention/performer.h"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>

#include "attention/linear_core.h"
#include "attention/shapes.h"

namespace cosdt::attention {
namespace {

// keys far from the origin have tiny features, and so has the normaliser: only 0 is out of bounds
const LinearForm kPerformerForm{.features = FeatureMap::kIdentity, .eps = 1e-30};

// log(phi(x) sqrt(m)), [.., m]
torch::Tensor Exponents(const torch::Tensor& x, const torch::Tensor& projection) {
  const torch::Tensor scaled = x * std::pow(static_cast<double>(x.size(-1)), -0.25);
  return torch::matmul(scaled, projection.t()) - scaled.square().sum(-1, true) / 2;
}

// The features of queries and of keys, in the sums' type.
std::pair<torch::Tensor, torch::Tensor> Features(const torch::Tensor& q, const torch::Tensor& k,
                                                 const torch::Tensor& projection) {
  const torch::TensorOptions type = q.options().dtype(SumTypeOf(q.scalar_type()));
  const torch::Tensor w = projection.to(type);
  const torch::Tensor exponents = Exponents(q.to(type), w);
  const double scale = 1 / std::sqrt(static_cast<double>(w.size(0)));
  return {(exponents - exponents.amax(-1, true).detach()).exp() * scale,
          Exponents(k.to(type), w).exp() * scale};
}

class PerformerState : public LinearState {
 public:
  PerformerState(const Shape& shape, const torch::Tensor& projection)
      : LinearState(shape, kPerformerForm, projection.size(0)), projection_(projection) {}

 private:
  torch::Tensor DoStep(const torch::Tensor& q, const torch::Tensor& k,
                       const torch::Tensor& v) override {
    const auto [q_features, k_features] = Features(q, k, projection_);
    return LinearState::DoStep(q_features, k_features, v).to(q.scalar_type());
  }

  torch::Tensor projection_;
};

}  // namespace

torch::Tensor PerformerProjection(int64_t features, int64_t width, uint64_t seed) {
  if (features == 0) {
    const auto d = static_cast<double>(width);
    features = std::max<int64_t>(1, static_cast<int64_t>(d * std::log(d)));
  }
  torch::Generator generator = at::detail::createCPUGenerator(seed);
  std::vector<torch::Tensor> blocks;
  for (int64_t rows = 0; rows < features; rows += width) {
    const torch::Tensor normal = torch::randn({width, width}, generator, torch::kFloat64);
    const torch::Tensor orthogonal = std::get<0>(torch::linalg_qr(normal)).t();
    const torch::Tensor lengths =
        torch::randn({width, width}, generator, torch::kFloat64).norm(2, -1, true);
    blocks.push_back(orthogonal * lengths);
  }
  return torch::cat(blocks).narrow(0, 0, features).contiguous();
}

torch::Tensor PerformerAttention(Inputs inputs, const ResolvedAttention& attention) {
  const torch::ScalarType type = inputs.q.scalar_type();
  inputs.ClearPadding();  // before the exponential, which could overflow on padding's values
  std::tie(inputs.q, inputs.k) = Features(inputs.q, inputs.k, attention.projection);
  inputs.v = inputs.v.to(inputs.q.scalar_type());
  return (attention.options.causal ? CausalLinear(inputs, kPerformerForm)
                                   : FullLinear(inputs, kPerformerForm))
      .to(type);
}

std::unique_ptr<AttentionState> MakePerformerState(const AttentionState::Shape& shape,
                                                   const ResolvedAttention& attention) {
  return std::make_unique<PerformerState>(shape, attention.projection);
}

}  // namespace cosdt::attention
