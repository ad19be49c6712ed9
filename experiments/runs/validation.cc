#include "experiments/runs/validation.h"

#include <algorithm>

#include "agents/models/actions.h"

namespace cosdt::experiments {
namespace {

constexpr size_t kWindowsAtOnce = 256;

datasets::WindowOptions WindowsOf(const TrainOptions& options) {
  return {.context = static_cast<int>(options.agent.context()),
          .return_scale = options.trainer.return_scale,
          .timestep_limit = options.agent.max_timestep()};
}

}  // namespace

Validation::Validation(const ResolvedRun& run, const torch::Device& device)
    : data_(run.data().held_out, run.data().normalizer, WindowsOf(run.options()), device) {
  const datasets::Episodes& episodes = run.data().held_out;
  const auto context = static_cast<size_t>(run.options().agent.context());
  for (size_t i = 0; i < episodes.size(); ++i) {
    for (size_t start = 0; start < episodes.length(i); start += context) {
      windows_.push_back(
          {.episode = i,
           .start = start,
           .length = static_cast<int>(std::min(context, episodes.length(i) - start))});
    }
  }
}

double Validation::Loss(agents::Agent& agent) const {
  const torch::NoGradGuard no_grad;
  const bool training = agent.module().is_training();
  agent.module().eval();
  double sum = 0;
  int64_t steps = 0;
  for (size_t begin = 0; begin < windows_.size(); begin += kWindowsAtOnce) {
    const std::span part =
        std::span(windows_).subspan(begin, std::min(kWindowsAtOnce, windows_.size() - begin));
    const agents::Batch batch = data_.Gather(data_.Describe(part).to(agent.device()),
                                             agent.options().reads_previous_actions());
    const auto count = batch.mask.sum().item<int64_t>();
    sum += static_cast<double>(count) * agents::ActionLoss(agent.Predict(batch), batch.actions,
                                                           batch.mask,
                                                           agent.options().discrete_actions())
                                            .item<double>();
    steps += count;
  }
  agent.module().train(training);
  return sum / static_cast<double>(steps);
}

}  // namespace cosdt::experiments
