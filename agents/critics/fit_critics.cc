#include "agents/critics/fit_critics.h"

#include <array>
#include <cmath>

namespace cosdt::agents {

void FitCritics(MlpStack& critics, kernels::Rows pairs, int64_t whole, const float* targets,
                double weight, MlpPasses& passes, CriticLosses& losses) {
  std::array<double, 2> squares{}, sizes{};
  const float share = static_cast<float>(2 * weight) / static_cast<float>(whole);
  passes.Fit(critics, pairs,
             [&](int64_t member, int64_t begin, int64_t count, kernels::Rows outputs) {
               const auto m = static_cast<size_t>(member);
               for (int64_t i = 0; i < count; ++i) {
                 const float error = outputs.data[i] - targets[begin + i];
                 squares[m] += double{error} * error;
                 sizes[m] += std::abs(outputs.data[i]);
                 outputs.data[i] = share * error;
               }
             });
  const auto n = static_cast<double>(whole);
  losses.critic = weight * (squares[0] + squares[1]) / n;
  losses.q = (sizes[0] + sizes[1]) / (2 * n);
}

}  // namespace cosdt::agents
