#include "experiments/runs/cell_cost.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "agents/decoding/agent_session.h"
#include "experiments/program/child_process.h"
#include "experiments/program/device.h"
#include "experiments/program/timing.h"

namespace cosdt::experiments {
namespace {

constexpr double kSeconds = 1.0;  // of a measurement

double DecisionMilliseconds(const agents::AgentOptions& options, agents::DecodeMode mode,
                            const envs::EnvSpec& spec) {
  agents::Checkpoint drawn{agents::MakeAgent(options), {}};
  drawn.agent->module().eval();
  drawn.info.normalizer.mean.assign(spec.observation_size, 0.0f);
  drawn.info.normalizer.std.assign(spec.observation_size, 1.0f);
  agents::AgentSession session(std::move(drawn), {.decode = mode, .horizon = spec.horizon});
  const std::vector<double> observation(spec.observation_size, 0.1);
  int64_t step = spec.horizon;
  const int64_t context = std::min<int64_t>(options.context(), spec.horizon - 1);
  const auto decide = [&] {
    session.Act(observation, 0);
    ++step;
  };
  // episodes start over, and the steps that fill the context are not measured
  double milliseconds = 0;
  long decisions = 0;
  while (milliseconds < 1000 * kSeconds / 4) {
    if (step >= spec.horizon) {
      session.Reset(1000);
      for (step = 0; step < context;) decide();
    }
    const int64_t count = std::min<int64_t>(20, spec.horizon - step);
    const double rate = Rate(0, [&] {
      for (int64_t i = 0; i < count; ++i) decide();
      return static_cast<long>(count);
    });
    milliseconds += 1000 * static_cast<double>(count) / rate;
    decisions += count;
  }
  return milliseconds / static_cast<double>(decisions);
}

}  // namespace

TrainingCost MeasureTraining(const ResolvedRun& run, const c10::Device& device) {
  const TrainOptions& options = run.options();
  ReturnFreedMemory();  // else what reading the data left would hide what training takes
  const PeakMemory memory;
  torch::manual_seed(options.trainer.seed);
  const std::shared_ptr<agents::Agent> agent = agents::MakeAgent(options.agent);
  agent->module().to(device);
  const std::unique_ptr<agents::AgentTrainer> trainer = agents::MakeTrainer(
      agent, run.data().episodes, run.data().normalizer, options.trainer, MakeCriticGuide(run));
  const int64_t at_once = device.is_cpu() ? 1 : 20;
  trainer->Update(at_once);
  const double rate = Rate(kSeconds, [&] {
    trainer->Update(at_once);
    return static_cast<long>(at_once);
  });
  TrainingCost cost;
  cost.device = UseOf(device);
  for (const torch::Tensor& p : trainer->agent().module().parameters())
    cost.parameters += p.numel();
  cost.tokens_per_update =
      options.trainer.batch_size * options.agent.context() * options.agent.tokens_per_step();
  cost.ms_per_update = 1000 / rate;
  cost.updates_per_second = rate;
  cost.training_bytes = memory.bytes();
  return cost;
}

DecisionCost MeasureDecisions(agents::AgentOptions agent, const envs::EnvSpec& spec) {
  agent.SetSizes(spec.observation_size, spec.action_size, spec.discrete_actions);
  agent.dt.max_timestep = std::max<int64_t>(agent.dt.max_timestep, spec.horizon);
  DecisionCost cost{DecisionMilliseconds(agent, agents::DecodeMode::kWindow, spec), std::nullopt};
  if (!agent.attention()) return cost;
  agent.dt.attention.reweight_length =
      2 * agent.dt.tokens * std::max<int64_t>(spec.horizon, agent.dt.context);
  cost.recurrent = DecisionMilliseconds(agent, agents::DecodeMode::kRecurrent, spec);
  return cost;
}

}  // namespace cosdt::experiments
