#include "agents/packed_weights.h"

#include <algorithm>

namespace cosdt::agents {

using torch::Tensor;

products::Packed Pack(const Tensor& weight, const Tensor& bias) {
  const Tensor columns = PadLast(weight.detach().t());
  products::Packed packed;
  packed.inputs = columns.size(0);
  packed.outputs = columns.size(1);
  packed.panels = CopyNumbers(columns.unflatten(1, {-1, products::kPanel}).transpose(0, 1));
  packed.bias =
      bias.defined() ? CopyNumbers(PadLast(bias.detach())) : products::Floats(packed.outputs);
  return packed;
}

products::Floats CopyNumbers(const Tensor& x) {
  const Tensor numbers = x.detach().to(torch::kCPU, torch::kFloat32).contiguous();
  products::Floats copy(numbers.numel());
  std::copy_n(numbers.const_data_ptr<float>(), numbers.numel(), copy.data());
  return copy;
}

Tensor PadLast(const Tensor& x) {
  return torch::constant_pad_nd(x, {0, products::Padded(x.size(-1)) - x.size(-1)});
}

}  // namespace cosdt::agents
