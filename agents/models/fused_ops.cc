#include "agents/models/fused_ops.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "agents/kernels/fused_norm.h"
#include "attention/parallel.h"
#include "datasets/random.h"

namespace cosdt::agents {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr int64_t kGrain = 1 << 15;  // elements that are worth a thread
constexpr int64_t kBlockRows = 256;  // rows whose affine gradients are summed together

bool IsFused(const Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == torch::kFloat32 || x.scalar_type() == torch::kBFloat16);
}

bool IsBFloat16(const Tensor& x) { return x.scalar_type() == torch::kBFloat16; }

Tensor DropElements(const Tensor& x_any, const kernels::DropPattern& drop) {
  const Tensor x = x_any.contiguous();
  const Tensor out = torch::empty(x.sizes(), x.options());
  const void* const from = x.data_ptr();
  void* const to = out.data_ptr();
  at::parallel_for(0, x.numel(), kGrain, [&](int64_t begin, int64_t end) {
    kernels::Drop(IsBFloat16(x), from, drop, begin, end, to);
  });
  return out;
}

class DropFunction : public torch::autograd::Function<DropFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x, double p, int64_t key) {
    context->saved_data["p"] = p;
    context->saved_data["key"] = key;
    return DropElements(x, {p, static_cast<uint64_t>(key)});
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& grads) {
    return {DropElements(grads[0], {context->saved_data["p"].toDouble(),
                                    static_cast<uint64_t>(context->saved_data["key"].toInt())}),
            {},
            {}};
  }
};

class AddNormFunction : public torch::autograd::Function<AddNormFunction> {
 public:
  static tensor_list forward(AutogradContext* context, const std::optional<Tensor>& x_any,
                             const Tensor& update_any, const Tensor& gamma, const Tensor& beta,
                             double epsilon, double p, int64_t key) {
    const Tensor update = update_any.contiguous();
    const Tensor x = x_any ? x_any->contiguous() : Tensor();
    const int64_t rows = update.numel() / gamma.numel();
    const auto type = gamma.options();
    const Tensor sum = torch::empty(update.sizes(), type), mean = torch::empty({rows}, type),
                 inverse_std = torch::empty({rows}, type), norm = torch::empty_like(update);
    kernels::AddNorm op = MakeOp(gamma, beta, epsilon, p, key, sum, mean, inverse_std);
    op.bfloat16 = IsBFloat16(update);
    op.x = x.defined() ? x.const_data_ptr<float>() : nullptr;
    op.update = update.data_ptr();
    op.norm = norm.data_ptr();
    at::parallel_for(0, rows, std::max<int64_t>(1, kGrain / op.width),
                     [&](int64_t begin, int64_t end) { kernels::FusedAddNorm(op, begin, end); });
    context->set_materialize_grads(false);
    context->save_for_backward({gamma, beta, sum, mean, inverse_std});
    context->saved_data["epsilon"] = epsilon;
    context->saved_data["p"] = p;
    context->saved_data["key"] = key;
    context->saved_data["bfloat16"] = op.bfloat16;
    context->saved_data["has_x"] = x.defined();
    return {sum, norm};
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& grads) {
    const auto saved = context->get_saved_variables();
    const Tensor &gamma = saved[0], &sum = saved[2], &mean = saved[3], &inverse_std = saved[4];
    kernels::AddNorm op = MakeOp(gamma, saved[1], context->saved_data["epsilon"].toDouble(),
                                 context->saved_data["p"].toDouble(),
                                 context->saved_data["key"].toInt(), sum, mean, inverse_std);
    op.bfloat16 = context->saved_data["bfloat16"].toBool();
    const auto contiguous = [](const Tensor& g) { return g.defined() ? g.contiguous() : g; };
    const Tensor grad_sum = contiguous(grads[0]), grad_norm = contiguous(grads[1]);
    const bool has_x = context->saved_data["has_x"].toBool();
    const Tensor grad_update = torch::empty(
        sum.sizes(), sum.options().dtype(op.bfloat16 ? torch::kBFloat16 : torch::kFloat32));
    const Tensor grad_x = has_x ? torch::empty_like(sum) : Tensor();
    kernels::AddNormGradient gradient;
    gradient.grad_sum = grad_sum.defined() ? grad_sum.const_data_ptr<float>() : nullptr;
    gradient.grad_norm = grad_norm.defined() ? grad_norm.data_ptr() : nullptr;
    gradient.grad_x = has_x ? grad_x.data_ptr<float>() : nullptr;
    gradient.grad_update = grad_update.data_ptr();
    const int64_t rows = mean.numel(), blocks = (rows + kBlockRows - 1) / kBlockRows;
    const Tensor affine = torch::zeros({blocks, 2, op.width}, gamma.options());
    float* const sums = affine.data_ptr<float>();
    at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        kernels::FusedAddNormBackward(op, gradient, block * kBlockRows,
                                      std::min(rows, (block + 1) * kBlockRows),
                                      sums + block * 2 * op.width);
      }
    });
    const Tensor total = affine.sum(0);
    return {grad_x, grad_update, total[0], total[1], {}, {}, {}};
  }

 private:
  static kernels::AddNorm MakeOp(const Tensor& gamma, const Tensor& beta, double epsilon, double p,
                                 int64_t key, const Tensor& sum, const Tensor& mean,
                                 const Tensor& inverse_std) {
    kernels::AddNorm op;
    op.width = gamma.numel();
    op.drop = {p, static_cast<uint64_t>(key)};
    op.gamma = gamma.const_data_ptr<float>();
    op.beta = beta.const_data_ptr<float>();
    op.epsilon = epsilon;
    op.sum = sum.data_ptr<float>();
    op.mean = mean.data_ptr<float>();
    op.inverse_std = inverse_std.data_ptr<float>();
    return op;
  }
};

uint64_t KeyOf(const Tensor& x, const Dropout& dropout) {
  return dropout.first == 0 ? dropout.key : dropout.KeyFor(x.numel() / x.size(0));
}

// The factors of x's elements, for devices and types without kernels of this file: the
// pattern of fused_norm.h in LibTorch's operations on int64, of which the upper half is 0. The
// second factor is taken modulo 2^32, so that no product overflows.
Tensor DropFactors(const Tensor& x, const Dropout& dropout) {
  constexpr int64_t kLow = 0xffffffff;
  const auto shift = [](const Tensor& bits, int64_t by) {
    return torch::bitwise_right_shift(bits, by);
  };
  const auto mix = [&](Tensor bits) {
    bits = bits ^ shift(bits, 16);
    bits = (bits * 0x7feb352d) & kLow;
    bits = bits ^ shift(bits, 15);
    bits = (bits * (0x846ca68b - (int64_t{1} << 32))) & kLow;
    return bits ^ shift(bits, 16);
  };
  const uint64_t key = KeyOf(x, dropout);
  const auto low = static_cast<int64_t>(key & kLow);
  const auto high = static_cast<int64_t>(key >> 32);
  Tensor bits = (torch::arange(x.numel(), x.options().dtype(torch::kInt64)) + low) & kLow;
  bits = mix(mix(bits) ^ high);
  const int64_t threshold = std::lround(dropout.p * 2147483647.0) - 1;
  const Tensor kept = shift(bits, 1) > threshold;
  return (kept.to(torch::kFloat32) * static_cast<float>(1 / (1 - dropout.p))).view(x.sizes());
}

}  // namespace

Dropout Dropout::For(uint64_t i) const {
  return {p, datasets::SplitMix64(key + i * 0x9e3779b97f4a7c15), first};
}

uint64_t Dropout::KeyFor(int64_t sequence_elements) const {
  const auto low = static_cast<uint32_t>(key) + static_cast<uint32_t>(first * sequence_elements);
  return (key >> 32 << 32) | low;
}

torch::Tensor Drop(const Tensor& x, const Dropout& dropout) {
  if (dropout.p == 0) return x;
  if (IsFused(x)) return DropFunction::apply(x, dropout.p, static_cast<int64_t>(KeyOf(x, dropout)));
  // bfloat16 is multiplied in float32, as the kernels do
  return (x * DropFactors(x, dropout)).to(x.scalar_type());
}

std::pair<torch::Tensor, torch::Tensor> AddNorm(const Tensor& x, const Tensor& update,
                                                const Dropout& dropout,
                                                const torch::nn::LayerNorm& norm) {
  const Tensor& gamma = norm->weight;
  const double epsilon = norm->options.eps();
  TORCH_CHECK_VALUE(update.size(-1) == gamma.numel(), "AddNorm: update: expected rows of ",
                    gamma.numel(), ", found ", update.sizes());
  TORCH_CHECK_VALUE(!x.defined() || x.sizes() == update.sizes(), "AddNorm: x: expected shape ",
                    update.sizes(), ", found ", x.sizes());
  if (IsFused(update) && gamma.scalar_type() == torch::kFloat32) {
    const auto out = AddNormFunction::apply(x.defined() ? std::optional(x) : std::nullopt, update,
                                            gamma, norm->bias, epsilon, dropout.p,
                                            static_cast<int64_t>(KeyOf(update, dropout)));
    return {out[0], out[1]};
  }
  Tensor sum = Drop(update, dropout).to(gamma.scalar_type());
  if (x.defined()) sum = x + sum;
  return {
      sum,
      torch::layer_norm(sum, {gamma.numel()}, gamma, norm->bias, epsilon).to(update.scalar_type())};
}

torch::Tensor Linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return torch::linear(x, weight.to(x.scalar_type()), bias.to(x.scalar_type()));
}

torch::Tensor Linear(const Tensor& x, const torch::nn::Linear& layer) {
  return Linear(x, layer->weight, layer->bias);
}

torch::Tensor Mlp(const Tensor& x, const torch::nn::Linear& in, const torch::nn::Linear& out,
                  const std::string& activation) {
  const Tensor hidden = Linear(x, in);
  return Linear(activation == "relu" ? torch::relu(hidden) : torch::gelu(hidden), out);
}

}  // namespace cosdt::agents
