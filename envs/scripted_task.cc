#include "envs/scripted_task.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace cosdt::envs {

ScriptedTask::ScriptedTask(EnvSpec spec, int shown, int hidden)
    : spec_(std::move(spec)), shown_(shown) {
  spec_.action_size = 1;
  spec_.observation_size = shown + hidden + spec_.action_size;
  spec_.shows_script = true;
}

void ScriptedTask::Reset(uint64_t seed) {
  Rng rng = MakeRng(seed, 0);
  Begin(rng);
  Restart();
}

void ScriptedTask::Restart() {
  steps_ = 0;
  ended_ = false;
}

StepResult ScriptedTask::Step(std::span<const double> action) {
  CheckAction(spec_, action);
  if (ended_) {
    throw std::logic_error(spec_.name + ": the episode has ended: Reset starts the next");
  }
  const StepResult result = Advance(action[0]);
  ++steps_;
  ended_ = result.terminated || result.truncated;
  return result;
}

void ScriptedTask::Observe(std::span<double> observation) const {
  CheckObservationSize(spec_, observation);
  std::ranges::fill(observation, 0.0);
  WriteState(observation.first(observation.size() - 1));
  if (!ended_) observation.back() = ScriptedAction();
}

}  // namespace cosdt::envs
