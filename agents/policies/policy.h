// Actions for many episodes at once, each with its own random stream.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "datasets/hdf5_file.h"
#include "envs/env.h"

namespace cosdt::agents {

// A policy without memory, for many episodes at once.
class Policy {
 public:
  virtual ~Policy() = default;

  // observations is [n, observation_size], of the environment in full (envs::Env::fully_observed);
  // actions, to be written, is [n, action_size]. Row i draws from rngs[i], its episode's own
  // stream, so that an episode does not depend on the others. If log_probs is not empty it holds n
  // values and gets the natural logarithm of each action's density, or probability if it is drawn
  // from a few.
  virtual void Act(std::span<const float> observations, std::span<envs::Rng* const> rngs,
                   std::span<float> actions, std::span<float> log_probs = {}) = 0;
};

// Uniform: on [-1, 1] in every dimension, or among the discrete actions.
std::unique_ptr<Policy> MakeRandomPolicy(const envs::EnvSpec& spec);

// No torque at all, or the discrete action 0.
std::unique_ptr<Policy> MakeZeroPolicy(const envs::EnvSpec& spec);

// The task's script (envs/scripted_task.h); of tmaze-N, straight ahead and into the right arm three
// times in four: it sees the sign. A share `epsilon` of its actions is MakeRandomPolicy's instead.
// Throws std::invalid_argument for an environment without a script and unless 0 <= epsilon <= 1.
std::unique_ptr<Policy> MakeScriptedPolicy(const envs::EnvSpec& spec, double epsilon = 0);

// Whether MakePolicy reads this policy from a file.
bool IsPolicyFile(const std::string& name);

// Opens the file of a policy given as a path or as one of DemoPolicies(), which are part of the
// program. Throws FileError, and std::invalid_argument for another name that begins with "demo/"
// and is no file.
std::unique_ptr<datasets::Hdf5File> OpenPolicy(const std::string& name);

// "random", "zero", "scripted", the path of a file in the layout of D4RL's metadata/policy, or one
// of DemoPolicies(). `spec` is that of the environment in full. `deterministic` takes the mean
// action of such a file, `epsilon` is MakeScriptedPolicy's. Throws if the policy does not fit the
// environment.
std::unique_ptr<Policy> MakePolicy(const std::string& name, const envs::EnvSpec& spec,
                                   bool deterministic, double epsilon = 0);

}  // namespace cosdt::agents
