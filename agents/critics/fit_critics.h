#pragma once

#include "agents/critics/learner.h"
#include "agents/mlp/mlp_passes.h"

namespace cosdt::agents {

// Writes the gradients of the critics' loss, and the loss and the mean absolute value into
// `losses`, or these rows' part of them, if the batch has more rows, `whole`:
//   L = weight * sum over both critics of the mean of (Q(s, a) - target)^2
// pairs [rows, observation and action], targets [rows].
void FitCritics(MlpStack& critics, kernels::Rows pairs, int64_t whole, const float* targets,
                double weight, MlpPasses& passes, CriticLosses& losses);

}  // namespace cosdt::agents
