#include "agents/training/update_ops.h"

#include <torch/library.h>

#include <optional>
#include <string_view>

#include "agents/training/update_kernels.h"
#include "agents/training/update_ops_cpu.h"

namespace cosdt::agents::update_ops {
namespace {

// Does nothing, with the arguments of `Function`.
template <auto Function>
struct None;
template <class... Arguments, void (*Function)(Arguments...)>
struct None<Function> {
  static void Do(Arguments...) {}
};

TORCH_LIBRARY_FRAGMENT(cosdt, library) {
  library.def(
      "embed_forward(Tensor[] data, Tensor[] weights, Tensor inputs, int tokens_per_step, float p, "
      "float epsilon, "
      "Tensor(a!) mask, Tensor(b!) tokens, Tensor(c!) statistics_0, Tensor(d!) x, "
      "Tensor(e!) statistics, Tensor(f!) y) -> ()");
  library.def(
      "embed_backward(Tensor[] weights, Tensor inputs, int tokens_per_step, float p, Tensor "
      "tokens, "
      "Tensor statistics_0, Tensor x, Tensor statistics, Tensor grad_y, Tensor grad_x, "
      "Tensor(a!) grad_tokens, Tensor(b!) parts) -> ()");
  library.def(
      "embed_gradients(Tensor[] data, Tensor inputs, int tokens_per_step, Tensor grad_tokens, "
      "Tensor(a!) grad_table, Tensor(b!) parts) -> ()");
  library.def(
      "add_norm_forward(Tensor x, Tensor update, Tensor inputs, int layer, float p, Tensor gamma, "
      "Tensor beta, float epsilon, Tensor(a!) sum, Tensor(b!) statistics, Tensor(c!) y) -> ()");
  library.def(
      "normalize(Tensor sum, Tensor statistics, Tensor gamma, Tensor beta, Tensor(a!) y) -> ()");
  library.def(
      "add_norm_backward(Tensor sum, Tensor statistics, Tensor gamma, Tensor grad_y, "
      "Tensor? grad_sum, Tensor inputs, int layer, float p, Tensor(a!) grad_x, "
      "Tensor(b!) grad_update, Tensor(c!) norm_parts, Tensor(d!) bias_parts) -> ()");
  library.def("drop_rows(Tensor input, Tensor inputs, int layer, float p, Tensor(a!) to) -> ()");
  library.def(
      "column_sums(str activation, Tensor? hidden, Tensor(a!) x, bool accumulate, "
      "Tensor(b!) parts) -> ()");
  library.def("weight_gradient(Tensor grad, Tensor x, bool accumulate, Tensor(a!) to) -> ()");
  library.def(
      "head_loss(Tensor y, Tensor weight, Tensor bias, Tensor actions, Tensor inputs, "
      "Tensor(a!) grad_y, Tensor(b!) parts) -> ()");
  library.def(
      "sum_parts(Tensor parts, Tensor places, Tensor inputs, Tensor(a!) gradient, "
      "Tensor(b!) results) -> ()");
  library.def("squares(Tensor gradient, Tensor(a!) squares) -> ()");
  library.def(
      "adamw_step(Tensor(a!) parameters, Tensor(b!) first, Tensor(c!) second, Tensor gradient, "
      "Tensor squares, float clip, Tensor(d!) inputs, Tensor(e!) results, Tensor(f!)? "
      "bfloat16_copy) "
      "-> ()");
}

TORCH_LIBRARY_IMPL(cosdt, CPU, library) {
  library.impl("embed_forward", EmbedForwardCpu);
  library.impl("embed_backward", EmbedBackwardCpu);
  library.impl("embed_gradients", EmbedGradientsCpu);
  library.impl("add_norm_forward", AddNormForwardCpu);
  library.impl("normalize", NormalizeCpu);
  library.impl("add_norm_backward", AddNormBackwardCpu);
  library.impl("drop_rows", DropRowsCpu);
  library.impl("column_sums", ColumnSumsCpu);
  library.impl("weight_gradient", WeightGradientCpu);
  library.impl("head_loss", HeadLossCpu);
  library.impl("sum_parts", SumPartsCpu);
  library.impl("squares", SquaresCpu);
  library.impl("adamw_step", AdamWStepCpu);
}

TORCH_LIBRARY_IMPL(cosdt, Meta, library) {
  library.impl("embed_forward", None<EmbedForwardCpu>::Do);
  library.impl("embed_backward", None<EmbedBackwardCpu>::Do);
  library.impl("embed_gradients", None<EmbedGradientsCpu>::Do);
  library.impl("add_norm_forward", None<AddNormForwardCpu>::Do);
  library.impl("normalize", None<NormalizeCpu>::Do);
  library.impl("add_norm_backward", None<AddNormBackwardCpu>::Do);
  library.impl("drop_rows", None<DropRowsCpu>::Do);
  library.impl("column_sums", None<ColumnSumsCpu>::Do);
  library.impl("weight_gradient", None<WeightGradientCpu>::Do);
  library.impl("head_loss", None<HeadLossCpu>::Do);
  library.impl("sum_parts", None<SumPartsCpu>::Do);
  library.impl("squares", None<SquaresCpu>::Do);
  library.impl("adamw_step", None<AdamWStepCpu>::Do);
}

// The operator for the device of its arguments, which are those of `Function`.
template <auto Function, class... Arguments>
void Call(const char* name, const Arguments&... arguments) {
  static const auto op = torch::Dispatcher::singleton()
                             .findSchemaOrThrow(name, "")
                             .typed<std::remove_pointer_t<decltype(Function)>>();
  op.call(arguments...);
}

Maybe ToMaybe(const Tensor& x) { return x.defined() ? Maybe(x) : std::nullopt; }

}  // namespace

bool KernelsTake(int64_t width, int64_t action_size) {
  return width <= kernels::kMaxColumns && action_size <= 256;
}

int64_t PartsFor(int64_t rows) {
  constexpr int64_t kMany = 1 << 16;
  return rows < kMany ? 128 : 512;
}

void EmbedForward(const Embedding& e, double epsilon, Tensor mask, Tensor tokens,
                  Tensor statistics_0, Tensor x, Tensor statistics, Tensor y) {
  Call<EmbedForwardCpu>("cosdt::embed_forward", e.data, e.weights, e.inputs, e.tokens_per_step, e.p,
                        epsilon, mask, tokens, statistics_0, x, statistics, y);
}

void EmbedBackward(const Embedding& e, const Tensor& tokens, const Tensor& statistics_0,
                   const Tensor& x, const Tensor& statistics, const Tensor& grad_y,
                   const Tensor& grad_x, Tensor grad_tokens, Tensor parts) {
  Call<EmbedBackwardCpu>("cosdt::embed_backward", e.weights, e.inputs, e.tokens_per_step, e.p,
                         tokens, statistics_0, x, statistics, grad_y, grad_x, grad_tokens, parts);
}

void EmbedGradients(const Embedding& e, const Tensor& grad_tokens, Tensor grad_table,
                    Tensor parts) {
  Call<EmbedGradientsCpu>("cosdt::embed_gradients", e.data, e.inputs, e.tokens_per_step,
                          grad_tokens, grad_table, parts);
}

void AddNormForward(const Tensor& x, const Tensor& update, const Tensor& inputs, int64_t layer,
                    double p, const Tensor& gamma, const Tensor& beta, double epsilon, Tensor sum,
                    Tensor statistics, Tensor y) {
  Call<AddNormForwardCpu>("cosdt::add_norm_forward", x, update, inputs, layer, p, gamma, beta,
                          epsilon, sum, statistics, y);
}

void Normalize(const Tensor& sum, const Tensor& statistics, const Tensor& gamma, const Tensor& beta,
               Tensor y) {
  Call<NormalizeCpu>("cosdt::normalize", sum, statistics, gamma, beta, y);
}

void AddNormBackward(const Tensor& sum, const Tensor& statistics, const Tensor& gamma,
                     const Tensor& grad_y, const Tensor& grad_sum, const Tensor& inputs,
                     int64_t layer, double p, Tensor grad_x, Tensor grad_update, Tensor norm_parts,
                     Tensor bias_parts) {
  Call<AddNormBackwardCpu>("cosdt::add_norm_backward", sum, statistics, gamma, grad_y,
                           ToMaybe(grad_sum), inputs, layer, p, grad_x, grad_update, norm_parts,
                           bias_parts);
}

void DropRows(const Tensor& from, const Tensor& inputs, int64_t layer, double p, Tensor to) {
  Call<DropRowsCpu>("cosdt::drop_rows", from, inputs, layer, p, to);
}

void ColumnSums(const std::string& activation, const Tensor& hidden, Tensor x, bool accumulate,
                Tensor parts) {
  Call<ColumnSumsCpu>("cosdt::column_sums", std::string_view(activation), ToMaybe(hidden), x,
                      accumulate, parts);
}

void WeightGradient(const Tensor& grad, const Tensor& x, bool accumulate, Tensor to) {
  Call<WeightGradientCpu>("cosdt::weight_gradient", grad, x, accumulate, to);
}

void HeadLoss(const Tensor& y, const Tensor& weight, const Tensor& bias, const Tensor& actions,
              const Tensor& inputs, Tensor grad_y, Tensor parts) {
  Call<HeadLossCpu>("cosdt::head_loss", y, weight, bias, actions, inputs, grad_y, parts);
}

void SumParts(const Tensor& parts, const Tensor& places, const Tensor& inputs, Tensor gradient,
              Tensor results) {
  Call<SumPartsCpu>("cosdt::sum_parts", parts, places, inputs, gradient, results);
}

void Squares(const Tensor& gradient, Tensor squares) {
  Call<SquaresCpu>("cosdt::squares", gradient, squares);
}

void AdamWStep(Tensor parameters, Tensor first, Tensor second, const Tensor& gradient,
               const Tensor& squares, double clip, Tensor inputs, Tensor results,
               Tensor bfloat16_copy) {
  Call<AdamWStepCpu>("cosdt::adamw_step", parameters, first, second, gradient, squares, clip,
                     inputs, results, ToMaybe(bfloat16_copy));
}

}  // namespace cosdt::agents::update_ops
