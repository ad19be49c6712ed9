#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agents/behaviour/sac.h"
#include "agents/behaviour/transition_log.h"
#include "agents/storage/folder_lock.h"
#include "datasets/transitions.h"
#include "envs/mujoco_env.h"

namespace cosdt::agents {

struct SacTrainingOptions {
  int64_t steps = 1'000'000;      // of the environment; one update per step after the random ones
  int64_t random_steps = 10'000;  // of uniform actions at the beginning
  int64_t evaluate_every = 10'000;
  int evaluation_episodes = 10;  // deterministic
  uint64_t seed = 0;
  SacOptions sac;

  // Policies to keep besides the best and the last: after these numbers of steps, and when an
  // evaluation first reaches these returns.
  std::vector<int64_t> save_steps;
  std::vector<double> save_returns;

  // Throws std::invalid_argument naming the field.
  void Validate() const;
};

// Calls visit(name, field) for every field that a run keeps when it is resumed: all but `steps`
// and what is saved.
template <class Options, class Visitor>
  requires std::same_as<std::remove_const_t<Options>, SacTrainingOptions>
void Visit(Options& o, const Visitor& visit) {
  visit("seed", o.seed);
  visit("random_steps", o.random_steps);
  visit("evaluate_every", o.evaluate_every);
  visit("evaluation_episodes", o.evaluation_episodes);
  Visit(o.sac, visit);
}

struct SacEvaluation {
  int64_t step = 0;
  float mean = 0, std = 0;                        // of the returns
  float alpha = 0, critic_loss = 0, entropy = 0;  // of the update at that step
};

struct SavedPolicy {
  std::string path;
  int64_t step = 0;
  double mean_return = 0;  // of the last evaluation before
};

struct SacProgress {
  int64_t step = 0;
  double mean_return = 0;  // of the last evaluation, 0 before the first
};

// Trains SAC. Everything that a run needs to resume after a kill is kept in a folder:
//   state.hdf5       parameters, moments, options, curve; replaced as a whole at each save
//   transitions.f32  every step (TransitionLog)
//   curve.csv        the evaluations
//   policy-*.hdf5    policies in the layout of D4RL's metadata/policy
// All randomness comes from streams of the seed that are numbered by step or episode, and the
// episode under way is stepped again from its logged actions: a resumed run continues bit by bit.
class SacTrainer {
 public:
  // Resumes the run in `folder` if there is one and `resume` is set, begins one otherwise.
  // Options except `steps` and what is saved must then be those that the run began with, and
  // LibTorch must have as many threads. Throws std::invalid_argument, std::runtime_error if the
  // folder cannot be written or holds a run without `resume`, datasets::FileError if a file is
  // damaged or does not fit.
  SacTrainer(const envs::MujocoEnv& env, const SacTrainingOptions& options, std::string folder,
             bool resume);

  // Trains until options.steps, saving after every evaluation, or until `stop`, which is asked
  // after every step, says so; then saves. Throws std::runtime_error, naming the step and the last
  // save, if a loss is not finite.
  void Run(const std::function<void(const SacProgress&)>& progress = nullptr,
           const std::function<bool()>& stop = nullptr);

  int64_t step() const { return log_.size(); }
  const std::vector<SacEvaluation>& curve() const { return curve_; }
  const Sac& sac() const { return sac_; }

  // What has been saved so far: the chosen ones in their order, then the best and the last.
  std::vector<SavedPolicy> policies() const;

  // All steps with their simulator states, which are made again from seeds and actions.
  datasets::Transitions Replay() const;

 private:
  void Load();
  void Save();
  void SavePolicy(const std::string& name) const;
  void Evaluate(const SacLosses& losses);
  void TakeStep();
  SacLosses Update();
  void ResumeEpisode();
  // The options that a run keeps, and must have again when resumed.
  std::vector<std::pair<std::string, std::string>> Fixed() const;

  std::unique_ptr<envs::MujocoEnv> env_;
  SacTrainingOptions options_;
  std::string folder_;
  FolderLock lock_;
  Sac sac_;
  TransitionLog log_;
  std::vector<SacEvaluation> curve_;
  uint64_t episode_ = 0;
  int64_t saved_step_ = 0;
  std::vector<double> observation_;
};

}  // namespace cosdt::agents
