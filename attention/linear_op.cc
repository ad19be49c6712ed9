#include "attention/linear_op.h"

#include <ATen/Parallel.h>
#include <torch/library.h>

#include "attention/linear_kernels.h"
#ifdef COSDT_USE_CUDA
#include "attention/linear_op_cuda.h"
#endif

namespace cosdt::attention {
namespace {

using torch::Tensor;
using Mask = std::optional<Tensor>;

kernels::Array ToArray(const Tensor& x) {
  return {x.data_ptr(), x.stride(0), x.stride(1), x.stride(2)};
}

// The kernels read any strides but the last dimension's.
Tensor WithContiguousRows(const Tensor& x) {
  return x.stride(-1) == 1 || x.size(-1) == 1 ? x : x.contiguous();
}

kernels::Type ToType(torch::ScalarType type) {
  if (type == torch::kFloat64) return kernels::Type::kFloat64;
  return type == torch::kBFloat16 ? kernels::Type::kBFloat16 : kernels::Type::kFloat32;
}

kernels::Problem MakeProblem(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& mask,
                             int64_t features, int64_t reweight_length, bool normalize,
                             double eps) {
  kernels::Problem problem;
  problem.type = ToType(q.scalar_type());
  problem.features = static_cast<kernels::Features>(features);
  problem.batch = q.size(0);
  problem.heads = q.size(1);
  problem.length = q.size(2);
  problem.width = q.size(3);
  problem.value_width = v.size(3);
  problem.reweight_length = reweight_length;
  problem.normalize = normalize;
  problem.eps = eps;
  problem.q = ToArray(q);
  problem.k = ToArray(k);
  problem.v = ToArray(v);
  if (mask) problem.mask = mask->const_data_ptr<bool>();
  return problem;
}

// Heads side by side; where there are more threads than heads, segments side by side.
void RunOnThreads(const kernels::Plan& plan) {
  if (plan.segments() == 1 || at::get_num_threads() <= plan.heads() || at::in_parallel_region()) {
    at::parallel_for(0, plan.heads(), 1,
                     [&](int64_t begin, int64_t end) { plan.RunHeads(begin, end); });
    return;
  }
  const int64_t items = plan.heads() * plan.segments();
  const Tensor buffer = torch::empty({static_cast<int64_t>(plan.state_size())}, torch::kUInt8);
  void* const states = buffer.data_ptr();
  at::parallel_for(0, items, 1,
                   [&](int64_t begin, int64_t end) { plan.SumSegments(begin, end, states); });
  at::parallel_for(0, plan.heads(), 1, [&](int64_t begin, int64_t end) {
    plan.AccumulateSegments(begin, end, states);
  });
  at::parallel_for(0, items, 1,
                   [&](int64_t begin, int64_t end) { plan.RunSegments(begin, end, states); });
}

void Run(const kernels::Problem& problem, kernels::Pass pass, const c10::Device& device) {
#ifdef COSDT_USE_CUDA
  if (device.is_cuda()) return RunOnDevice(problem, pass, device);
#endif
  TORCH_INTERNAL_ASSERT(device.is_cpu());
  RunOnThreads(kernels::Plan(problem, pass));
}

// Output [B, H, L, d_v] and normaliser [B, H, L].
std::tuple<Tensor, Tensor> Forward(const Tensor& q_any, const Tensor& k_any, const Tensor& v_any,
                                   const Mask& mask_any, int64_t features, int64_t reweight_length,
                                   bool normalize, double eps) {
  const Tensor q = WithContiguousRows(q_any), k = WithContiguousRows(k_any),
               v = WithContiguousRows(v_any);
  const Mask mask = mask_any ? Mask(mask_any->contiguous()) : std::nullopt;
  kernels::Problem problem = MakeProblem(q, k, v, mask, features, reweight_length, normalize, eps);
  Tensor out = torch::empty({q.size(0), q.size(1), q.size(2), v.size(3)}, v.options());
  Tensor normalizer = normalize ? torch::empty({q.size(0), q.size(1), q.size(2)},
                                               q.options().dtype(SumTypeOf(q.scalar_type())))
                                : torch::empty({0}, q.options());
  problem.out = ToArray(out);
  problem.normalizer = normalize ? normalizer.data_ptr() : nullptr;
  Run(problem, kernels::Pass::kForward, q.device());
  return {out, normalizer};
}

// From here on the output can stand in for the sums that it was rounded from.
constexpr int64_t kLeastRoundedWidth = 16;

std::tuple<Tensor, Tensor, Tensor> Backward(const Tensor& grad, const Tensor& q_any,
                                            const Tensor& k_any, const Tensor& v_any,
                                            const Mask& mask_any, const Tensor& out,
                                            const Tensor& normalizer, int64_t features,
                                            int64_t reweight_length, bool normalize, double eps) {
  if (normalize && q_any.scalar_type() == torch::kBFloat16 && q_any.size(3) < kLeastRoundedWidth) {
    // in few dimensions a token's normaliser is often small and most of its gradient cancels
    // against g . o, where an o rounded to bfloat16 leaves errors of 0.3
    const auto wide = [](const Tensor& x) { return x.to(torch::kFloat32); };
    const Tensor q = wide(q_any), k = wide(k_any), v = wide(v_any);
    const auto [exact_out, exact_normalizer] =
        Forward(q, k, v, mask_any, features, reweight_length, normalize, eps);
    const auto [grad_q, grad_k, grad_v] =
        Backward(wide(grad), q, k, v, mask_any, exact_out, exact_normalizer, features,
                 reweight_length, normalize, eps);
    const auto narrow = [](const Tensor& x) { return x.to(torch::kBFloat16); };
    return {narrow(grad_q), narrow(grad_k), narrow(grad_v)};
  }
  const Tensor q = WithContiguousRows(q_any), k = WithContiguousRows(k_any),
               v = WithContiguousRows(v_any), grad_out = WithContiguousRows(grad);
  const Mask mask = mask_any ? Mask(mask_any->contiguous()) : std::nullopt;
  kernels::Problem problem = MakeProblem(q, k, v, mask, features, reweight_length, normalize, eps);
  Tensor grad_q = torch::empty(q.sizes(), q.options()),
         grad_k = torch::empty(k.sizes(), k.options()),
         grad_v = torch::empty(v.sizes(), v.options());
  problem.out = ToArray(out);
  problem.normalizer = normalize ? normalizer.data_ptr() : nullptr;
  problem.grad_out = ToArray(grad_out);
  problem.grad_q = ToArray(grad_q);
  problem.grad_k = ToArray(grad_k);
  problem.grad_v = ToArray(grad_v);
  Run(problem, kernels::Pass::kBackward, q.device());
  return {grad_q, grad_k, grad_v};
}

Tensor ForwardOnly(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& mask,
                   int64_t features, int64_t reweight_length, bool normalize, double eps) {
  return std::get<0>(Forward(q, k, v, mask, features, reweight_length, normalize, eps));
}

class Differentiable : public torch::autograd::Function<Differentiable> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& q, const Tensor& k,
                        const Tensor& v, const Mask& mask, int64_t features,
                        int64_t reweight_length, bool normalize, double eps) {
    const at::AutoDispatchBelowAutograd below;
    auto [out, normalizer] = Forward(q, k, v, mask, features, reweight_length, normalize, eps);
    context->save_for_backward({q, k, v, mask.value_or(Tensor()), out, normalizer});
    context->saved_data["features"] = features;
    context->saved_data["reweight_length"] = reweight_length;
    context->saved_data["normalize"] = normalize;
    context->saved_data["eps"] = eps;
    return out;
  }

  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context,
                                               const torch::autograd::tensor_list& grads) {
    TORCH_CHECK_NOT_IMPLEMENTED(
        !torch::GradMode::is_enabled(),
        "attention: the kernels' gradient has no gradient; CausalLinearComposed has");
    const torch::autograd::variable_list saved = context->get_saved_variables();
    const auto [grad_q, grad_k, grad_v] = Backward(
        grads[0], saved[0], saved[1], saved[2], saved[3].defined() ? Mask(saved[3]) : std::nullopt,
        saved[4], saved[5], context->saved_data["features"].toInt(),
        context->saved_data["reweight_length"].toInt(), context->saved_data["normalize"].toBool(),
        context->saved_data["eps"].toDouble());
    return {grad_q, grad_k, grad_v, {}, {}, {}, {}, {}};
  }
};

Tensor WithGradient(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& mask,
                    int64_t features, int64_t reweight_length, bool normalize, double eps) {
  return Differentiable::apply(q, k, v, mask, features, reweight_length, normalize, eps);
}

constexpr char kName[] = "cosdt::causal_linear_attention";

TORCH_LIBRARY(cosdt, library) {
  library.def(
      "causal_linear_attention(Tensor q, Tensor k, Tensor v, Tensor? key_mask, int features, "
      "int reweight_length, bool normalize, float eps) -> Tensor");
}
TORCH_LIBRARY_IMPL(cosdt, CPU, library) { library.impl("causal_linear_attention", ForwardOnly); }
TORCH_LIBRARY_IMPL(cosdt, AutogradCPU, library) {
  library.impl("causal_linear_attention", WithGradient);
}
#ifdef COSDT_USE_CUDA
TORCH_LIBRARY_IMPL(cosdt, CUDA, library) { library.impl("causal_linear_attention", ForwardOnly); }
TORCH_LIBRARY_IMPL(cosdt, AutogradCUDA, library) {
  library.impl("causal_linear_attention", WithGradient);
}
#endif

}  // namespace

torch::Tensor FusedCausalLinear(const Inputs& inputs, const LinearForm& form) {
  static const auto op =
      torch::Dispatcher::singleton().findSchemaOrThrow(kName, "").typed<decltype(ForwardOnly)>();
  return op.call(inputs.q, inputs.k, inputs.v,
                 inputs.key_mask.defined() ? Mask(inputs.key_mask) : std::nullopt,
                 static_cast<int64_t>(form.features), form.reweight_length, form.normalize,
                 form.eps);
}

}  // namespace cosdt::attention
