#include "envs/task.h"

#include <utility>
#include <vector>

namespace cosdt::envs {

Task::Task(std::string name, const Env& full, int observation_size)
    : full_(full.Clone()), spec_(full.spec()) {
  spec_.name = std::move(name);
  spec_.observation_size = observation_size;
  spec_.shows_script = false;
}

Task::Task(const Task& other) : Env(other), full_(other.full_->Clone()), spec_(other.spec_) {}

void Task::Reset(uint64_t seed) {
  full_->Reset(seed);
  Begin(seed);
}

void Task::ResetFrom(InitialNoise& noise, uint64_t seed) {
  full_->ResetFrom(noise, seed);
  Begin(seed);
}

StepResult Task::Step(std::span<const double> action) {
  return TransformResult(full_->Step(action));
}

void Task::Observe(std::span<double> observation) const {
  CheckObservationSize(spec_, observation);
  std::vector<double> seen(full_->spec().observation_size);
  full_->Observe(seen);
  WriteObservation(seen, observation);
}

}  // namespace cosdt::envs
