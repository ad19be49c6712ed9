#include "attention/linear_op.h"

#include <array>
#include <tuple>
#include <utility>

#include "attention/linear_problem.h"
#include "attention/parallel.h"

namespace cosdt::attention {
namespace {

using torch::Tensor;

// The kernels read any strides but the last dimension's.
Tensor WithContiguousRows(const Tensor& x) {
  return x.stride(-1) == 1 || x.size(-1) == 1 ? x : x.contiguous();
}

Inputs WithContiguousRows(const Inputs& inputs) {
  return {WithContiguousRows(inputs.q),
          WithContiguousRows(inputs.k),
          WithContiguousRows(inputs.v),
          inputs.key_mask.defined() ? inputs.key_mask.contiguous() : Tensor(),
          {}};
}

// Heads side by side; if there are more threads than heads, segments side by side.
void RunOnThreads(const kernels::Plan& plan) {
  if (plan.segments() == 1 || at::get_num_threads() <= plan.heads() || at::in_parallel_region()) {
    at::parallel_for(0, plan.heads(), 1,
                     [&](int64_t begin, int64_t end) { plan.RunHeads(begin, end); });
    return;
  }
  const Tensor buffer = torch::empty({static_cast<int64_t>(plan.state_size())}, torch::kUInt8);
  void* const states = buffer.data_ptr();
  const int64_t slices = (at::get_num_threads() + plan.heads() - 1) / plan.heads();
  at::parallel_for(0, plan.heads() * slices, 1,
                   [&](int64_t begin, int64_t end) { plan.SumStates(begin, end, slices, states); });
  at::parallel_for(0, plan.heads() * plan.segments(), 1,
                   [&](int64_t begin, int64_t end) { plan.RunSegments(begin, end, states); });
}

void ForwardOnCpu(const Inputs& inputs, const LinearForm& form, Tensor& out, Tensor& normalizer) {
  RunOnThreads(kernels::Plan(MakeProblem(inputs, form, out, normalizer), kernels::Pass::kForward));
}

void BackwardOnCpu(const Tensor& grad_out, const Inputs& inputs, const LinearForm& form,
                   const Tensor& out, const Tensor& normalizer, Tensor& grad_q, Tensor& grad_k,
                   Tensor& grad_v) {
  kernels::Problem problem = MakeProblem(inputs, form, out, normalizer);
  AddGradients(problem, grad_out, grad_q, grad_k, grad_v);
  RunOnThreads(kernels::Plan(problem, kernels::Pass::kBackward));
}

// Meta tensors have shapes alone: nothing is computed.
void ForwardOnMeta(const Inputs&, const LinearForm&, Tensor&, Tensor&) {}
void BackwardOnMeta(const Tensor&, const Inputs&, const LinearForm&, const Tensor&, const Tensor&,
                    Tensor&, Tensor&, Tensor&) {}

struct Output {
  Tensor out, normalizer;
};

// Heads lie side by side in a token's row, so that joining them is a view.
Output Forward(const Inputs& inputs, const LinearForm& form) {
  const Tensor& q = inputs.q;
  const int64_t batch = q.size(0), heads = q.size(1), length = q.size(2);
  Output result{
      torch::empty({batch, length, heads, inputs.v.size(3)}, inputs.v.options()).transpose(1, 2),
      torch::empty({form.normalize ? batch : 0, heads, length},
                   q.options().dtype(SumTypeOf(q.scalar_type())))};
  CausalLinearForward(inputs, form, result.out, result.normalizer);
  return result;
}

Tensor AttendWithoutGradient(const Inputs& inputs, const LinearForm& form) {
  return Forward(inputs, form).out;
}

Mask ToMask(const Tensor& mask) { return mask.defined() ? Mask(mask) : std::nullopt; }

class Differentiable : public torch::autograd::Function<Differentiable> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& q, const Tensor& k,
                        const Tensor& v, const Mask& key_mask, const LinearForm& form) {
    const at::AutoDispatchBelowAutograd below;
    const Tensor mask = key_mask.value_or(Tensor());
    const Output result = Forward({q, k, v, mask, {}}, form);
    context->save_for_backward({q, k, v, mask, result.out, result.normalizer});
    context->saved_data["form"] = SavedForm(static_cast<int64_t>(form.features),
                                            form.reweight_length, form.normalize, form.eps);
    context->saved_data["half_life"] = form.half_life;
    return result.out;
  }

  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context,
                                               const torch::autograd::tensor_list& grads) {
    TORCH_CHECK_NOT_IMPLEMENTED(
        !torch::GradMode::is_enabled(),
        "attention: the kernels' gradient has no gradient; CausalLinearComposed has");
    const torch::autograd::variable_list saved = context->get_saved_variables();
    const Inputs inputs{saved[0], saved[1], saved[2], saved[3], {}};
    Tensor grad_q = torch::empty_like(saved[0]), grad_k = torch::empty_like(saved[1]),
           grad_v = torch::empty_like(saved[2]);
    for (Tensor* grad : {&grad_q, &grad_k, &grad_v}) *grad = WithContiguousRows(*grad);
    const auto [features, reweight_length, normalize, eps] =
        context->saved_data["form"].to<SavedForm>();
    const LinearForm form = MakeForm(features, reweight_length, normalize, eps,
                                     context->saved_data["half_life"].toDouble());
    CausalLinearBackward(grads[0], inputs, form, saved[4], saved[5], grad_q, grad_k, grad_v);
    return {grad_q, grad_k, grad_v, {}, {}};
  }

 private:
  using SavedForm = std::tuple<int64_t, int64_t, bool, double>;
};

Tensor AttendWithGradient(const Inputs& inputs, const LinearForm& form) {
  return Differentiable::apply(inputs.q, inputs.k, inputs.v, ToMask(inputs.key_mask), form);
}

TORCH_LIBRARY(cosdt, library) {
  library.def(
      "causal_linear_attention(Tensor q, Tensor k, Tensor v, Tensor? key_mask, int features, "
      "int reweight_length, bool normalize, float eps, float half_life=0.) -> Tensor");
  library.def(
      "causal_linear_forward(Tensor q, Tensor k, Tensor v, Tensor? key_mask, int features, "
      "int reweight_length, bool normalize, float eps, float half_life, Tensor(a!) out, "
      "Tensor(b!) normalizer) -> ()");
  library.def(
      "causal_linear_backward(Tensor grad_out, Tensor q, Tensor k, Tensor v, Tensor? key_mask, "
      "Tensor out, Tensor normalizer, int features, int reweight_length, bool normalize, "
      "float eps, float half_life, Tensor(a!) grad_q, Tensor(b!) grad_k, Tensor(c!) grad_v) -> ()");
}
TORCH_LIBRARY_IMPL(cosdt, CompositeExplicitAutograd, library) {
  library.impl("causal_linear_attention", AttendOperator<AttendWithoutGradient>);
}
TORCH_LIBRARY_IMPL(cosdt, Autograd, library) {
  library.impl("causal_linear_attention", AttendOperator<AttendWithGradient>);
}
TORCH_LIBRARY_IMPL(cosdt, CPU, library) {
  library.impl("causal_linear_forward", ForwardOperator<ForwardOnCpu>);
  library.impl("causal_linear_backward", BackwardOperator<BackwardOnCpu>);
}
TORCH_LIBRARY_IMPL(cosdt, Meta, library) {
  library.impl("causal_linear_forward", ForwardOperator<ForwardOnMeta>);
  library.impl("causal_linear_backward", BackwardOperator<BackwardOnMeta>);
}

template <class Signature>
auto FindOperator(const char* name) {
  return torch::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

// In few dimensions a token's normaliser is often small and most of its gradient cancels against
// g . o, and an o rounded to bfloat16 leaves errors of 0.3 (d = 8); on tensor cores features and
// scores are rounded, too, which leaves 0.05 at d = 16.
bool NeedsFloat32(const Tensor& q, const LinearForm& form) {
  return form.normalize && q.scalar_type() == torch::kBFloat16 &&
         q.size(3) < (q.is_cuda() ? 32 : 16);
}

void BackwardInFloat32(const Tensor& grad_out, const Inputs& inputs, const LinearForm& form,
                       Tensor& grad_q, Tensor& grad_k, Tensor& grad_v) {
  const auto wide = [](const Tensor& x) { return x.to(torch::kFloat32).contiguous(); };
  const Inputs exact{wide(inputs.q), wide(inputs.k), wide(inputs.v), inputs.key_mask, {}};
  const Output result = Forward(exact, form);
  Tensor exact_q = torch::empty_like(exact.q), exact_k = torch::empty_like(exact.k),
         exact_v = torch::empty_like(exact.v);
  CausalLinearBackward(wide(grad_out), exact, form, result.out, result.normalizer, exact_q, exact_k,
                       exact_v);
  grad_q.copy_(exact_q);
  grad_k.copy_(exact_k);
  grad_v.copy_(exact_v);
}

std::array<KernelCheck, static_cast<size_t>(c10::DeviceType::COMPILE_TIME_MAX_DEVICE_TYPES)>
    kernel_checks;

}  // namespace

KernelCheck SetKernelCheck(c10::DeviceType type, KernelCheck check) {
  return std::exchange(kernel_checks[static_cast<size_t>(type)], check);
}

bool HasCausalLinearKernel(const Tensor& q, int64_t value_width, const LinearForm& form) {
  const KernelCheck check = kernel_checks[static_cast<size_t>(q.device().type())];
  return check ? check(q, value_width, form) : q.is_cpu() || q.is_meta();
}

std::string CausalLinearPath(const torch::Device& device) {
  const Tensor q = torch::empty({1, 1, 1, 64}, torch::TensorOptions(device));
  return HasCausalLinearKernel(q, 64, {}) ? "kernels" : "composition";
}

torch::Tensor FusedCausalLinear(const Inputs& inputs, const LinearForm& form) {
  static const auto op = FindOperator<decltype(AttendOperator<AttendWithoutGradient>)>(
      "cosdt::causal_linear_attention");
  return op.call(inputs.q, inputs.k, inputs.v, ToMask(inputs.key_mask),
                 static_cast<int64_t>(form.features), form.reweight_length, form.normalize,
                 form.eps, form.half_life);
}

void CausalLinearForward(const Inputs& inputs, const LinearForm& form, Tensor& out,
                         Tensor& normalizer) {
  static const auto op =
      FindOperator<decltype(ForwardOperator<ForwardOnCpu>)>("cosdt::causal_linear_forward");
  const Inputs x = WithContiguousRows(inputs);
  op.call(x.q, x.k, x.v, ToMask(x.key_mask), static_cast<int64_t>(form.features),
          form.reweight_length, form.normalize, form.eps, form.half_life, out, normalizer);
}

void CausalLinearBackward(const Tensor& grad_out, const Inputs& inputs, const LinearForm& form,
                          const Tensor& out, const Tensor& normalizer, Tensor& grad_q,
                          Tensor& grad_k, Tensor& grad_v) {
  if (NeedsFloat32(inputs.q, form)) {
    return BackwardInFloat32(grad_out, inputs, form, grad_q, grad_k, grad_v);
  }
  static const auto op =
      FindOperator<decltype(BackwardOperator<BackwardOnCpu>)>("cosdt::causal_linear_backward");
  const Inputs x = WithContiguousRows(inputs);
  op.call(WithContiguousRows(grad_out), x.q, x.k, x.v, ToMask(x.key_mask), out, normalizer,
          static_cast<int64_t>(form.features), form.reweight_length, form.normalize, form.eps,
          form.half_life, grad_q, grad_k, grad_v);
}

}  // namespace cosdt::attention
