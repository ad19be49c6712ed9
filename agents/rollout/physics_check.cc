#include "agents/rollout/physics_check.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <stdexcept>
#include <vector>

#include "envs/mujoco_env.h"
#include "envs/registry.h"

namespace cosdt::agents {
namespace {

using envs::Physics;

struct State {
  std::vector<double> qpos, qvel;
};

Residual Summarize(std::vector<double> errors) {
  std::ranges::sort(errors);
  const auto at = [&](double share) {
    return errors[static_cast<size_t>(share * static_cast<double>(errors.size() - 1))];
  };
  return {at(0.5), at(0.9), errors.back()};
}

class Replayer {
 public:
  Replayer(const datasets::Transitions& transitions, const std::string& env) : t_(transitions) {
    for (const Physics physics : envs::kAllPhysics) {
      std::unique_ptr<envs::Env> made = envs::MakeEnv(env, physics);
      bodies_[physics].reset(&dynamic_cast<envs::MujocoEnv&>(*made.release()));
    }
    const envs::MujocoEnv& body = *bodies_.begin()->second;
    has_states_ = t_.nq == body.nq() && t_.nv == body.nv();
    clips_ = env != "halfcheetah";
    if (t_.observation_size != body.spec().observation_size ||
        t_.action_size != body.spec().action_size) {
      throw std::invalid_argument(env + ": the file's observations and actions have other sizes");
    }
  }

  PhysicsReport Run(int max) {
    PhysicsReport report;
    report.rebuilt = !has_states_;
    std::map<Physics, std::vector<double>> errors;
    std::vector<double> apart;  // between the bodies of d4rl and gymnasium
    std::map<Physics, double> reward_errors;
    int terminal = 0;
    const size_t rows = t_.rows();
    const size_t stride = std::max<size_t>(1, rows / max);
    for (size_t row = 0; row < rows; ++row) {
      // every terminating step up to as many: their rewards tell v4 from v5
      const bool sampled = row % stride == 0 && report.transitions < max;
      const bool ends = t_.terminals[row] && terminal < max;
      if (!sampled && !ends) continue;
      const std::optional<State> state = StateBefore(row);
      const std::span<const float> next = Next(row);
      if (!state || next.empty()) continue;
      report.transitions += sampled;
      terminal += ends;
      std::map<Physics, std::vector<double>> ends_at;
      for (auto& [physics, body] : bodies_) {
        const double reward = Step(*body, *state, row, ends_at[physics]);
        if (sampled) errors[physics].push_back(Distance(ends_at[physics], next));
        if (ends) reward_errors[physics] += std::abs(reward - t_.rewards[row]);
      }
      if (sampled)
        apart.push_back(Distance(ends_at[Physics::kD4rl], ends_at[Physics::kGymnasiumV4]));
    }
    if (report.transitions == 0) return report;
    for (const auto& [physics, list] : errors) report.residuals[physics] = Summarize(list);
    report.verdict = Verdict(report.residuals, Summarize(apart).median, reward_errors, terminal);
    return report;
  }

 private:
  std::optional<State> StateBefore(size_t row) const {
    const envs::MujocoEnv& body = *bodies_.begin()->second;
    State state{std::vector<double>(body.nq()), std::vector<double>(body.nv())};
    if (has_states_) {
      std::copy_n(t_.qpos.begin() + row * t_.nq, t_.nq, state.qpos.begin());
      std::copy_n(t_.qvel.begin() + row * t_.nv, t_.nv, state.qvel.begin());
    } else {
      const auto observation = t_.observations.begin() + row * t_.observation_size;
      std::copy_n(observation, body.nq() - 1, state.qpos.begin() + 1);
      std::copy_n(observation + body.nq() - 1, body.nv(), state.qvel.begin());
      const auto clipped = [](double v) { return std::abs(v) >= 10; };
      if (clips_ && std::ranges::any_of(state.qvel, clipped)) return std::nullopt;
    }
    const auto finite = [](double x) { return std::isfinite(x); };
    const auto actions = std::span(t_.actions).subspan(row * t_.action_size, t_.action_size);
    if (!std::ranges::all_of(state.qpos, finite) || !std::ranges::all_of(state.qvel, finite) ||
        !std::ranges::all_of(actions, finite)) {
      return std::nullopt;
    }
    return state;
  }

  // The observation after the row's step; nothing if the file has none.
  std::span<const float> Next(size_t row) const {
    const size_t width = t_.observation_size;
    if (!t_.next_observations.empty()) {
      return std::span(t_.next_observations).subspan(row * width, width);
    }
    const bool ends = t_.terminals[row] || (!t_.timeouts.empty() && t_.timeouts[row]);
    if (ends || row + 1 == t_.rows()) return {};
    return std::span(t_.observations).subspan((row + 1) * width, width);
  }

  // Steps from a state and gives the reward; `observation` is set to the one after it.
  double Step(envs::MujocoEnv& body, const State& state, size_t row,
              std::vector<double>& observation) const {
    body.SetState(state.qpos, state.qvel);
    const auto actions = t_.actions.begin() + row * t_.action_size;
    const double reward = body.Step(std::vector<double>(actions, actions + t_.action_size)).reward;
    observation.resize(t_.observation_size);
    body.Observe(observation);
    return reward;
  }

  template <typename A, typename B>
  static double Distance(const A& a, const B& b) {
    double largest = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      const double d = std::abs(a[i] - b[i]);
      if (!(d <= largest)) largest = d;  // a NaN stays
    }
    return largest;
  }

  // A body made the file if its residual is well below the distance between the bodies.
  static std::string Verdict(const std::map<Physics, Residual>& residuals, double apart,
                             const std::map<Physics, double>& reward_errors, int terminal) {
    const auto fits = [&](Physics p) { return residuals.at(p).median < apart / 3; };
    if (fits(Physics::kD4rl)) return PhysicsName(Physics::kD4rl);
    const double v4 = residuals.at(Physics::kGymnasiumV4).median;
    const double v5 = residuals.at(Physics::kGymnasiumV5).median;
    if (!fits(Physics::kGymnasiumV4) && !fits(Physics::kGymnasiumV5)) return "none";
    if (v4 < v5 / 3) return PhysicsName(Physics::kGymnasiumV4);  // walker2d: v5's feet differ
    if (v5 < v4 / 3) return PhysicsName(Physics::kGymnasiumV5);
    if (terminal == 0) return "gymnasium";
    const double error4 = reward_errors.at(Physics::kGymnasiumV4) / terminal;
    const double error5 = reward_errors.at(Physics::kGymnasiumV5) / terminal;
    if (std::abs(error4 - error5) < 0.5) return "gymnasium";
    return PhysicsName(error4 < error5 ? Physics::kGymnasiumV4 : Physics::kGymnasiumV5);
  }

  const datasets::Transitions& t_;
  std::map<Physics, std::unique_ptr<envs::MujocoEnv>> bodies_;
  bool has_states_ = false;
  bool clips_ = false;  // whether observations clip velocities to [-10, 10]
};

}  // namespace

PhysicsReport ResimulateTransitions(const datasets::Transitions& transitions,
                                    const std::string& env, int max) {
  return Replayer(transitions, env).Run(max);
}

}  // namespace cosdt::agents
