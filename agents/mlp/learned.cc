#include "agents/mlp/learned.h"

#include "agents/kernels/mlp_kernels.h"
#include "attention/parallel.h"

namespace cosdt::agents {

Learned::Learned(const torch::Tensor& flat)
    : parameters(flat),
      first_moment(torch::zeros_like(flat)),
      second_moment(torch::zeros_like(flat)),
      steps(torch::zeros({1})) {}

void Learned::Step(const torch::Tensor& gradients, double lr, const torch::Tensor& followers,
                   double tau) {
  steps.add_(1);
  const auto step = static_cast<int64_t>(steps.item<float>());
  const auto* const g = gradients.const_data_ptr<float>();
  const kernels::AdamState state = {parameters.data_ptr<float>(), first_moment.data_ptr<float>(),
                                    second_moment.data_ptr<float>()};
  float* const slow = followers.defined() ? followers.data_ptr<float>() : nullptr;
  at::parallel_for(0, gradients.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    kernels::AdamStep(
        end - begin, g + begin, step, lr,
        {state.parameters + begin, state.first_moment + begin, state.second_moment + begin},
        slow ? slow + begin : nullptr, static_cast<float>(tau));
  });
}

void Learned::AddTo(NamedTensors& state, const std::string& name, bool with_parameters) const {
  if (with_parameters) state.emplace_back(name + "/parameters", parameters);
  state.emplace_back(name + "/first_moment", first_moment);
  state.emplace_back(name + "/second_moment", second_moment);
  state.emplace_back(name + "/steps", steps);
}

}  // namespace cosdt::agents
