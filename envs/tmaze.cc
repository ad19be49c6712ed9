#include "envs/tmaze.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace cosdt::envs {
namespace {

std::string Name(int corridor) { return "tmaze-" + std::to_string(corridor); }

// The maze with its sign in sight everywhere.
class OpenMaze : public Env {
 public:
  explicit OpenMaze(int corridor)
      : spec_{.name = Name(corridor),
              .observation_size = 2,
              .action_size = 1,
              .horizon = corridor + 2,
              .success_return = 1.0} {}

  const EnvSpec& spec() const override { return spec_; }
  std::unique_ptr<Env> Clone() const override { return std::make_unique<OpenMaze>(*this); }

  void Reset(uint64_t seed) override {
    Rng rng = MakeRng(seed, 0);
    sign_ = std::bernoulli_distribution(0.5)(rng) ? 1 : -1;
    steps_ = 0;
  }

  StepResult Step(std::span<const double> action) override {
    CheckAction(spec_, action);
    if (steps_ == spec_.horizon) {
      throw std::logic_error(spec_.name + ": the episode has ended: Reset starts the next");
    }
    const bool chooses = AtJunction();
    ++steps_;
    if (!chooses) return {};
    return {.reward = (action[0] > 0) == (sign_ > 0) ? 1.0 : 0.0, .terminated = true};
  }

  void Observe(std::span<double> observation) const override {
    CheckObservationSize(spec_, observation);
    observation[TMaze::kSign] = sign_;
    observation[TMaze::kJunction] = AtJunction();
  }

 private:
  bool AtJunction() const { return steps_ == spec_.horizon - 1; }

  EnvSpec spec_;
  int sign_ = 1;
  int steps_ = 0;
};

}  // namespace

TMaze::TMaze(int corridor)
    : Task(Name(corridor), OpenMaze(corridor), OpenMaze(corridor).spec().observation_size) {}

void TMaze::Begin(uint64_t) { at_start_ = true; }

StepResult TMaze::TransformResult(const StepResult& step) {
  at_start_ = false;
  return step;
}

void TMaze::WriteObservation(std::span<const double> seen, std::span<double> observation) const {
  std::ranges::copy(seen, observation.begin());
  if (!at_start_) observation[kSign] = 0;
}

}  // namespace cosdt::envs
