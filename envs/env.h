#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>

namespace cosdt::envs {

using Rng = std::mt19937_64;

// An independent random stream of a run's seed: `stream` counts episodes, or whatever else must not
// share draws.
Rng MakeRng(uint64_t seed, uint64_t stream);

// The seed for Env::Reset of such a stream.
uint64_t StreamSeed(uint64_t seed, uint64_t stream);

// D4RL's constants for normalized scores (d4rl/infos.py, REF_MIN_SCORE and REF_MAX_SCORE).
struct ScoreRange {
  double min;
  double max;
};

// 100 (episode_return - min) / (max - min); episode_return is undiscounted.
double NormalizedScore(const ScoreRange& range, double episode_return);

struct EnvSpec {
  std::string name;
  int observation_size = 0;
  int action_size = 0;
  int discrete_actions = 0;                    // n of Discrete(n), see Env; 0: continuous
  int horizon = 0;                             // steps after which an episode is truncated
  double step_seconds = 0;                     // simulated time of one step; 0: no simulator
  std::optional<ScoreRange> score_range = {};  // of tasks that D4RL scores
  std::optional<double> success_return = {};   // of tasks that are solved by this return, or not
  std::optional<double> target_return = {};    // that other tasks are asked for by default
  bool shows_script = false;                   // whether observations end in the script's action
};

// gymnasium's name of the actions' space, "Discrete(4)"; "" if they are continuous.
std::string ActionSpace(const EnvSpec& spec);

// Where a body draws its initial state from: all of qpos, then all of qvel.
class InitialNoise {
 public:
  virtual ~InitialNoise() = default;
  virtual double Uniform(double low, double high) = 0;  // in [low, high)
  virtual double Normal() = 0;                          // of mean 0 and standard deviation 1
};

// The results of gymnasium's step besides the observation.
struct StepResult {
  double reward = 0;
  bool terminated = false;
  bool truncated = false;
};

// Throws std::invalid_argument if an action has the wrong size, or holds a value that is not finite
// or not one of the discrete actions.
void CheckAction(const EnvSpec& spec, std::span<const double> action);

// Throws std::invalid_argument if there is not room for exactly one observation.
void CheckObservationSize(const EnvSpec& spec, std::span<const double> observation);

// One body or task. Observations and actions are rows of spec().observation_size and
// spec().action_size values; everything inside is float64.
//
// Continuous actions are action_size values, for all bodies and tasks within [-1, 1]. Of a discrete
// space the action is one value, the index 0 to n - 1. So rows of actions are floats everywhere
// (every float up to 2^24 is exact), and files store integers. One-hot rows would say no more, be
// up to 27 times as large, and could be wrong in more ways.
class Env {
 public:
  virtual ~Env() = default;

  virtual const EnvSpec& spec() const = 0;

  // A copy in the same state. Whatever never changes, such as a compiled model, is shared.
  virtual std::unique_ptr<Env> Clone() const = 0;

  // Starts an episode; the same seed gives the same one.
  virtual void Reset(uint64_t seed) = 0;

  // The same with the body's initial state drawn from `noise`; what a task draws itself follows
  // `seed`. Throws std::logic_error if there is no simulator (spec().step_seconds is 0).
  virtual void ResetFrom(InitialNoise& noise, uint64_t seed);

  // Takes one step. Throws what CheckAction throws, and std::logic_error after an episode that
  // diverged or, in a task without a simulator, ended.
  virtual StepResult Step(std::span<const double> action) = 0;

  // Writes the current observation. After a step that diverged it is the one before that step.
  virtual void Observe(std::span<double> observation) const = 0;

  // Whether the simulator reported a bad state in this episode (it was then ended as terminated).
  virtual bool diverged() const { return false; }

  // The same episode with nothing hidden: of a task that shows less than its body does, the body.
  // Its actions are this environment's. It is what behaviour policies act on and what is filmed.
  virtual const Env& fully_observed() const { return *this; }
};

}  // namespace cosdt::envs
