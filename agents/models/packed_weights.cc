#include "agents/models/packed_weights.h"

#include <algorithm>

namespace cosdt::agents {

using torch::Tensor;

kernels::Packed Pack(const Tensor& weight, const Tensor& bias, torch::ScalarType type) {
  const Tensor rows = weight.detach().to(torch::kCPU, torch::kFloat32).contiguous();
  kernels::Packed packed;
  kernels::PackWeights(rows.const_data_ptr<float>(), rows.size(0), rows.size(1), true,
                       type == torch::kBFloat16, packed);
  if (bias.defined()) packed.bias = CopyValues(PadLast(bias.detach()));
  return packed;
}

kernels::Floats CopyValues(const Tensor& x) {
  const Tensor values = x.detach().to(torch::kCPU, torch::kFloat32).contiguous();
  kernels::Floats copy(values.numel());
  std::copy_n(values.const_data_ptr<float>(), values.numel(), copy.data());
  return copy;
}

Tensor PadLast(const Tensor& x) {
  return torch::constant_pad_nd(x, {0, kernels::Padded(x.size(-1)) - x.size(-1)});
}

}  // namespace cosdt::agents
