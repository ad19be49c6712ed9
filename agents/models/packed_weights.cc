#include "agents/models/packed_weights.h"

#include <algorithm>
#include <cstring>

namespace cosdt::agents {
namespace {

using torch::Tensor;

// Pairs [panels, Pairs(inputs), kPanel] of panels [panels, inputs, kPanel].
kernels::AlignedBuffer<kernels::Pair> CopyPairs(const Tensor& panels) {
  const int64_t inputs = panels.size(1), pairs = kernels::Pairs(inputs);
  const Tensor halves = torch::constant_pad_nd(panels, {0, 0, 0, 2 * pairs - inputs})
                            .to(torch::kCPU, torch::kBFloat16)
                            .unflatten(1, {pairs, 2})
                            .transpose(2, 3)
                            .contiguous();
  kernels::AlignedBuffer<kernels::Pair> copy(halves.numel() / 2);
  std::memcpy(copy.data(), halves.const_data_ptr(), halves.nbytes());
  return copy;
}

}  // namespace

kernels::Packed Pack(const Tensor& weight, const Tensor& bias, torch::ScalarType type) {
  const Tensor columns = PadLast(weight.detach().t());
  kernels::Packed packed;
  packed.inputs = columns.size(0);
  packed.outputs = columns.size(1);
  const Tensor panels = columns.unflatten(1, {-1, kernels::kPanel}).transpose(0, 1);
  if (type == torch::kBFloat16) {
    packed.pairs = CopyPairs(panels);
  } else {
    packed.panels = CopyValues(panels);
  }
  packed.bias =
      bias.defined() ? CopyValues(PadLast(bias.detach())) : kernels::Floats(packed.outputs);
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
