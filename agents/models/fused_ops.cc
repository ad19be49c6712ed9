#include "agents/models/fused_ops.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "agents/kernels/fused_norm.h"
#include "agents/kernels/gemm.h"
#include "agents/models/packed_weights.h"
#include "attention/parallel.h"
#include "datasets/random.h"

namespace cosdt::agents {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr int64_t kGrain = 1 << 15;  // numbers that are worth a thread
constexpr int64_t kBlockRows = 256;  // rows whose affine gradients are summed together

bool IsFused(const Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == torch::kFloat32 || x.scalar_type() == torch::kBFloat16);
}

bool IsBFloat16(const Tensor& x) { return x.scalar_type() == torch::kBFloat16; }

Tensor DropNumbers(const Tensor& x_any, const kernels::DropPattern& drop) {
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
    return DropNumbers(x, {p, static_cast<uint64_t>(key)});
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& grads) {
    return {DropNumbers(grads[0], {context->saved_data["p"].toDouble(),
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

// w^T + bias on the right of a product, w [outputs, inputs]: in float32 packed for kernels of our
// own, which are faster than LibTorch's BLAS. Their widths are multiples of a panel's.
class RightHandSide {
 public:
  RightHandSide(const Tensor& weight, const Tensor& bias) : weight_(weight), bias_(bias) {
    if (HasKernel(weight)) packed_ = Pack(weight, bias);
  }

  static bool HasKernel(const Tensor& weight) {
    return weight.is_cpu() && weight.scalar_type() == torch::kFloat32 &&
           weight.size(0) % kernels::kPanel == 0 && weight.size(1) % kernels::kPanel == 0;
  }

  // to [rows, outputs] = x [rows, inputs] w^T + bias, or with `relu` what is positive of it; the
  // rows of both are contiguous.
  void Multiply(const Tensor& x, bool relu, Tensor& to) const {
    if (!packed_) {
      if (bias_.defined()) {
        torch::addmm_out(to, bias_, x, weight_.t());
      } else {
        torch::mm_out(to, x, weight_.t());
      }
      if (relu) to.relu_();
      return;
    }
    constexpr int64_t kRows = 96;  // a multiple of a tile's
    const int64_t rows = x.size(0), inputs = packed_->inputs, outputs = packed_->outputs;
    float* const from = x.data_ptr<float>();
    float* const out = to.data_ptr<float>();
    at::parallel_for(0, (rows + kRows - 1) / kRows, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin * kRows; row < std::min(rows, end * kRows); row += kRows) {
        kernels::Gemm({from + row * inputs, inputs}, std::min(kRows, rows - row), *packed_,
                      packed_->bias.data(), 0, outputs,
                      relu ? kernels::Epilogue::kRelu : kernels::Epilogue::kStore,
                      {out + row * outputs, outputs});
      }
    });
  }

 private:
  Tensor weight_, bias_;
  std::optional<kernels::Packed> packed_;
};

// sum [outputs, inputs] += a^T b, the gradient of weights, for a [rows, outputs] and
// b [rows, inputs]. Sums are float32 whatever the type.
void AddTransposedProduct(const Tensor& a, const Tensor& b, Tensor& sum) {
  if (a.scalar_type() != sum.scalar_type()) {
    sum += torch::mm(a.t(), b);
  } else if (!RightHandSide::HasKernel(sum)) {
    sum.addmm_(a.t(), b);
  } else {
    const int64_t outputs = sum.size(0), inputs = sum.size(1);
    const kernels::Rows from{a.data_ptr<float>(), outputs}, right{b.data_ptr<float>(), inputs},
        to{sum.data_ptr<float>(), inputs};
    at::parallel_for(0, outputs, kernels::kPanel, [&](int64_t begin, int64_t end) {
      kernels::AddTransposedProduct(from, right, a.size(0), begin, end, inputs, to);
    });
  }
}

// x [rows, inputs] in float32, weight [outputs, inputs].
class LinearFunction : public torch::autograd::Function<LinearFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x_any, const Tensor& weight,
                        const Tensor& bias) {
    const Tensor x = x_any.contiguous();
    Tensor out = torch::empty({x.size(0), weight.size(0)}, x.options());
    RightHandSide(weight, bias).Multiply(x, false, out);
    context->save_for_backward({x, weight});
    return out;
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& grads) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1];
    const Tensor grad = grads[0].contiguous();
    Tensor grad_x = torch::empty_like(x);
    RightHandSide(weight.t(), {}).Multiply(grad, false, grad_x);
    Tensor grad_weight = torch::zeros(weight.sizes(), x.options());
    AddTransposedProduct(grad, x, grad_weight);
    return {grad_x, grad_weight, grad.sum(0)};
  }
};

// x [rows, width], hidden weights [n, width], output weights [width, n], all of one type.
class MlpFunction : public torch::autograd::Function<MlpFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x_any, const Tensor& w_in,
                        const Tensor& b_in, const Tensor& w_out, const Tensor& b_out, bool relu) {
    const Tensor x = x_any.contiguous();
    // relu's backward pass reads what came out, gelu's what went in
    const Tensor hidden = torch::empty({x.size(0), w_in.size(0)}, x.options());
    const Tensor out = torch::empty({x.size(0), w_out.size(0)}, x.options());
    const RightHandSide in(w_in, b_in), back(w_out, b_out);
    ForBlocks(x, hidden, [&](int64_t begin, int64_t rows) {
      Tensor h = hidden.narrow(0, begin, rows), y = out.narrow(0, begin, rows);
      in.Multiply(x.narrow(0, begin, rows), relu, h);
      back.Multiply(relu ? h : torch::gelu(h), false, y);
    });
    context->save_for_backward({x, w_in, w_out, hidden});
    context->saved_data["relu"] = relu;
    return out;
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& grads) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &w_in = saved[1], &w_out = saved[2], &hidden = saved[3];
    const bool relu = context->saved_data["relu"].toBool();
    const Tensor grad = grads[0].contiguous();
    const Tensor grad_x = torch::empty_like(x);
    const auto sums = x.options().dtype(torch::kFloat32);
    Tensor grad_w_in = torch::zeros(w_in.sizes(), sums),
           grad_w_out = torch::zeros(w_out.sizes(), sums),
           grad_b_in = torch::zeros({w_in.size(0)}, sums);
    const RightHandSide from_out(w_out.t(), {}), from_in(w_in.t(), {});
    ForBlocks(x, hidden, [&](int64_t begin, int64_t rows) {
      const Tensor g = grad.narrow(0, begin, rows), h = hidden.narrow(0, begin, rows);
      AddTransposedProduct(g, relu ? h : torch::gelu(h), grad_w_out);
      Tensor grad_h = torch::empty_like(h);
      from_out.Multiply(g, false, grad_h);
      if (relu) {
        torch::threshold_backward_out(grad_h, grad_h, h, 0);
      } else {
        grad_h = torch::gelu_backward(grad_h, h);
      }
      AddTransposedProduct(grad_h, x.narrow(0, begin, rows), grad_w_in);
      grad_b_in += grad_h.sum(0);
      Tensor to = grad_x.narrow(0, begin, rows);
      from_in.Multiply(grad_h, false, to);
    });
    const auto type = x.scalar_type();
    return {grad_x, grad_w_in.to(type), grad_b_in.to(type), grad_w_out.to(type), grad.sum(0), {}};
  }

 private:
  // Calls body(first row, rows) for blocks of which a fraction of a megabyte is hidden numbers.
  template <class Body>
  static void ForBlocks(const Tensor& x, const Tensor& hidden, const Body& body) {
    const int64_t most = std::max<int64_t>(64, (int64_t{1} << 18) / hidden.size(1));
    for (int64_t begin = 0; begin < x.size(0); begin += most) {
      body(begin, std::min(most, x.size(0) - begin));
    }
  }
};

// What the numbers of x are multiplied by, for devices and types without kernels of this file: the
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
  const auto low = static_cast<int64_t>(dropout.key & kLow);
  const auto high = static_cast<int64_t>(dropout.key >> 32);
  Tensor bits = (torch::arange(x.numel(), x.options().dtype(torch::kInt64)) + low) & kLow;
  bits = mix(mix(bits) ^ high);
  const int64_t threshold = std::lround(dropout.p * 2147483647.0) - 1;
  const Tensor kept = shift(bits, 1) > threshold;
  return (kept.to(torch::kFloat32) * static_cast<float>(1 / (1 - dropout.p))).view(x.sizes());
}

}  // namespace

Dropout Dropout::For(uint64_t i) const {
  return {p, datasets::SplitMix64(key + i * 0x9e3779b97f4a7c15)};
}

torch::Tensor Drop(const Tensor& x, const Dropout& dropout) {
  if (dropout.p == 0) return x;
  if (IsFused(x)) return DropFunction::apply(x, dropout.p, static_cast<int64_t>(dropout.key));
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
    const auto out =
        AddNormFunction::apply(x.defined() ? std::optional(x) : std::nullopt, update, gamma,
                               norm->bias, epsilon, dropout.p, static_cast<int64_t>(dropout.key));
    return {out[0], out[1]};
  }
  Tensor sum = Drop(update, dropout).to(gamma.scalar_type());
  if (x.defined()) sum = x + sum;
  return {
      sum,
      torch::layer_norm(sum, {gamma.numel()}, gamma, norm->bias, epsilon).to(update.scalar_type())};
}

torch::Tensor Linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  // packing weights pays for the rows of a training batch, not for a decision's
  if (torch::GradMode::is_enabled() && x.scalar_type() == weight.scalar_type() &&
      RightHandSide::HasKernel(weight) && x.is_cpu()) {
    return LinearFunction::apply(x.flatten(0, -2), weight, bias)
        .unflatten(0, x.sizes().slice(0, x.dim() - 1));
  }
  return torch::linear(x, weight.to(x.scalar_type()), bias.to(x.scalar_type()));
}

torch::Tensor Linear(const Tensor& x, const torch::nn::Linear& layer) {
  return Linear(x, layer->weight, layer->bias);
}

torch::Tensor Activate(const Tensor& x, const std::string& activation) {
  return activation == "relu" ? torch::relu(x) : torch::gelu(x);
}

torch::Tensor Mlp(const Tensor& x, const torch::nn::Linear& in, const torch::nn::Linear& out,
                  const std::string& activation) {
  if (!IsFused(x)) return Linear(Activate(Linear(x, in), activation), out);
  const auto cast = [&](const Tensor& parameter) { return parameter.to(x.scalar_type()); };
  return MlpFunction::apply(x.reshape({-1, x.size(-1)}), cast(in->weight), cast(in->bias),
                            cast(out->weight), cast(out->bias), activation == "relu")
      .view(x.sizes());
}

}  // namespace cosdt::agents
