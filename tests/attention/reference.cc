#include "tests/attention/reference.h"

#include <cmath>
#include <limits>
#include <numbers>

namespace cosdt::attention {
namespace {

using torch::Tensor;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// i - j, [L, L_k]
Tensor Distances(const Tensor& q, const Tensor& k) {
  const auto type = q.options().dtype(torch::kFloat64);
  return torch::arange(q.size(2), type).unsqueeze(-1) - torch::arange(k.size(2), type);
}

Tensor WeightedMean(const Tensor& weights, const Tensor& v, double eps) {
  return torch::matmul(weights, v) / weights.sum(-1, true).clamp_min(eps);
}

Tensor Flow(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& real) {
  constexpr double kEps = 1e-6;
  // sums over earlier tokens are products with a triangle of ones
  const Tensor earlier =
      torch::ones({q.size(2), q.size(2)}, q.options().dtype(torch::kFloat64)).tril();
  const auto sum = [&](const Tensor& x) { return torch::matmul(earlier, x); };
  const auto dot = [&](const Tensor& x, const Tensor& sums) {
    return ((x + kEps) * (sums + kEps)).sum(-1, true);
  };
  const Tensor mask = real.transpose(-1, -2).to(torch::kFloat64);  // [B, 1, L, 1]
  const Tensor n = sum(mask).clamp_min(1);                         // 0 before the first real token
  const Tensor sink = torch::sigmoid(q) * mask, source = torch::sigmoid(k) * mask;
  const Tensor incoming = dot(sink, sum(source)), outgoing = dot(source, sum(sink));
  const Tensor gate = torch::sigmoid(dot(sink, sum(source * n / outgoing)) / n);
  const Tensor strength =
      torch::exp((dot(source, sum(sink * n / incoming)) / n).clamp(-1.0, 1.0)) * mask;
  const Tensor competition = n * strength / sum(strength).clamp_min(kEps);
  const Tensor weights = (torch::matmul(sink / incoming, source.transpose(-1, -2))) * earlier;
  return gate * torch::matmul(weights, v * competition);
}

}  // namespace

torch::Tensor Reference(const Tensor& q, const Tensor& k_any, const Tensor& v_any,
                        const Tensor& key_mask, const AttentionOptions& options,
                        const Tensor& projection) {
  const std::string& kind = options.kind;
  const Tensor real = key_mask.defined() ? key_mask.unsqueeze(1).unsqueeze(1)
                                         : torch::ones({1, 1, 1, k_any.size(2)},
                                                       k_any.options().dtype(torch::kBool));
  const Tensor rows = real.transpose(-1, -2);
  const Tensor k = torch::where(rows, k_any, 0.0), v = torch::where(rows, v_any, 0.0);
  const Tensor distance = Distances(q, k);
  Tensor seen = real.expand({-1, -1, q.size(2), -1});
  if (options.causal) seen = seen & (distance >= 0);
  if (kind == "identity") return v;
  if (kind == "flow") return Flow(q, k, v, real);
  if (kind == "softmax" || kind == "local") {
    if (kind == "local") seen = seen & (distance < options.window);
    const Tensor scores =
        torch::matmul(q, k.transpose(-1, -2)) / std::sqrt(static_cast<double>(q.size(-1)));
    // a query without any key gets 0
    const Tensor weights = torch::where(seen, scores, -kInfinity).softmax(-1);
    return torch::matmul(torch::where(seen.any(-1, true), weights, 0.0), v);
  }
  const auto features = [&](const Tensor& x) {
    if (kind == "cosformer" && options.feature_map == "relu") return torch::relu(x);
    if (kind == "linear" || kind == "cosformer") return torch::where(x > 0, x + 1, x.exp());
    const Tensor scaled = x / std::pow(static_cast<double>(x.size(-1)), 0.25);
    return torch::exp(torch::matmul(scaled, projection.t()) - scaled.square().sum(-1, true) / 2) /
           std::sqrt(static_cast<double>(projection.size(0)));
  };
  Tensor weights = torch::matmul(features(q), features(k).transpose(-1, -2));
  if (kind == "cosformer" && options.reweight) {
    weights = weights * torch::cos(distance * (std::numbers::pi / 2 /
                                               static_cast<double>(options.reweight_length)));
  }
  if (kind == "cosformer" && options.half_life > 0) {
    const Tensor head = torch::arange(q.size(1), distance.options()).view({-1, 1, 1});
    weights = weights * torch::exp2(-distance / (options.half_life * torch::exp2(head)));
  }
  return WeightedMean(torch::where(seen, weights, 0.0), v, kind == "performer" ? 1e-30 : 1e-6);
}

double LargestError(const Tensor& found, const Tensor& expected) {
  const Tensor a = found.to(torch::kFloat64), b = expected.to(torch::kFloat64);
  return (a - b).abs().max().item<double>() / std::max(1.0, b.abs().max().item<double>());
}

bool SameBits(const Tensor& a, const Tensor& b) { return torch::equal(a, b); }

}  // namespace cosdt::attention
