// Environments for gymnasium: one, and many in lock step.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "envs/mujoco_env.h"
#include "envs/registry.h"
#include "envs/thread_pool.h"
#include "experiments/python/bindings.h"

namespace cosdt::python {
namespace {

// An environment whose episode i after Seed(seed) is episode i of `cosdt rollout --seed SEED`.
class SeededEnv {
 public:
  explicit SeededEnv(std::unique_ptr<envs::Env> env) : env_(std::move(env)) {}

  void Seed(uint64_t seed) {
    seed_ = seed;
    next_ = 0;
  }
  void Reset() { env_->Reset(envs::StreamSeed(seed_, next_++)); }
  envs::StepResult Step(std::span<const double> action) { return env_->Step(action); }

  envs::Env& env() { return *env_; }
  const envs::EnvSpec& spec() const { return env_->spec(); }

 private:
  std::unique_ptr<envs::Env> env_;
  uint64_t seed_ = 0, next_ = 0;
};

// The body of an environment. Throws std::invalid_argument if there is none.
envs::MujocoEnv& BodyOf(SeededEnv& env) {
  if (auto* const body = dynamic_cast<envs::MujocoEnv*>(&env.env())) return *body;
  throw std::invalid_argument("state: expected a body, found " + env.spec().name);
}

// Copies of an environment that a pool of threads steps. A copy whose episode has ended begins the
// next one in the following step (gymnasium's AutoresetMode.NEXT_STEP).
class Envs {
 public:
  Envs(const std::string& name, const std::string& physics, int count, int threads)
      : guard_("environments", threads), pool_(threads), ended_(count) {
    if (count < 1) {
      throw std::invalid_argument("num_envs: expected at least 1, found " + std::to_string(count));
    }
    const auto prototype = envs::MakeEnv(name, envs::ParsePhysics(physics));
    for (int i = 0; i < count; ++i) envs_.emplace_back(prototype->Clone());
  }

  // Begins an episode in every copy; those with a seed are seeded first.
  void Reset(const std::vector<std::optional<uint64_t>>& seeds, Array<double, 2> observations) {
    ExpectSize("seeds", seeds, envs_.size());
    ExpectSize("observations", observations, Values());
    const PoolGuard::Call call = guard_.Enter();
    pool_.ForEach(size(), [&](int i) {
      if (seeds[i]) envs_[i].Seed(*seeds[i]);
      envs_[i].Reset();
      ended_[i] = 0;
      Observe(i, observations.data());
    });
  }

  void Step(Array<const double, 2> actions, Array<double, 2> observations, Array<double, 1> rewards,
            Array<bool, 1> terminated, Array<bool, 1> truncated) {
    const size_t width = spec().action_size;
    ExpectSize("actions", actions, envs_.size() * width);
    ExpectSize("observations", observations, Values());
    ExpectSize("rewards", rewards, envs_.size());
    ExpectSize("terminated", terminated, envs_.size());
    ExpectSize("truncated", truncated, envs_.size());
    const PoolGuard::Call call = guard_.Enter();
    // before any copy moves: a wrong action changes nothing
    for (int i = 0; i < size(); ++i) {
      if (!ended_[i]) envs::CheckAction(spec(), {actions.data() + i * width, width});
    }
    pool_.ForEach(size(), [&](int i) {
      envs::StepResult step;
      if (ended_[i]) {
        envs_[i].Reset();
      } else {
        step = envs_[i].Step({actions.data() + i * width, width});
      }
      rewards.data()[i] = step.reward;
      terminated.data()[i] = step.terminated;
      truncated.data()[i] = step.truncated;
      ended_[i] = step.terminated || step.truncated;
      Observe(i, observations.data());
    });
  }

  int size() const { return static_cast<int>(envs_.size()); }
  const envs::EnvSpec& spec() const { return envs_[0].spec(); }

 private:
  size_t Values() const { return envs_.size() * spec().observation_size; }
  void Observe(int row, double* observations) {
    const size_t width = spec().observation_size;
    envs_[row].env().Observe({observations + row * width, width});
  }

  PoolGuard guard_;
  envs::ThreadPool pool_;
  std::vector<SeededEnv> envs_;
  std::vector<uint8_t> ended_;  // whether the next step begins an episode
};

template <typename Class>
void DefineSpec(Class& bound) {
  using Bound = typename Class::Type;
  bound.def_prop_ro("name", [](const Bound& e) { return e.spec().name; })
      .def_prop_ro("observation_size", [](const Bound& e) { return e.spec().observation_size; })
      .def_prop_ro("action_size", [](const Bound& e) { return e.spec().action_size; })
      .def_prop_ro("discrete_actions", [](const Bound& e) { return e.spec().discrete_actions; })
      .def_prop_ro("horizon", [](const Bound& e) { return e.spec().horizon; })
      .def_prop_ro("step_seconds", [](const Bound& e) { return e.spec().step_seconds; });
}

void BindEnv(nb::module_& module) {
  nb::class_<SeededEnv> env(module, "Env");
  DefineSpec(env);
  env.def("__init__",
          [](SeededEnv* self, const std::string& name, const std::string& physics) {
            new (self) SeededEnv(envs::MakeEnv(name, envs::ParsePhysics(physics)));
          })
      .def("seed", &SeededEnv::Seed)
      .def("reset",
           [](SeededEnv& self, Array<double, 1> observation) {
             self.Reset();
             self.env().Observe({observation.data(), observation.size()});
           })
      .def("step",
           [](SeededEnv& self, Array<const double, 1> action, Array<double, 1> observation) {
             const envs::StepResult step = self.Step({action.data(), action.size()});
             self.env().Observe({observation.data(), observation.size()});
             return nb::make_tuple(step.reward, step.terminated, step.truncated);
           })
      .def_prop_ro("diverged", [](SeededEnv& self) { return self.env().diverged(); })
      .def("state",
           [](SeededEnv& self) {
             const envs::MujocoEnv& body = BodyOf(self);
             return std::pair(std::vector(body.qpos().begin(), body.qpos().end()),
                              std::vector(body.qvel().begin(), body.qvel().end()));
           })
      .def("set_state", [](SeededEnv& self, Array<const double, 1> qpos,
                           Array<const double, 1> qvel, Array<double, 1> observation) {
        BodyOf(self).SetState({qpos.data(), qpos.size()}, {qvel.data(), qvel.size()});
        self.env().Observe({observation.data(), observation.size()});
      });
}

}  // namespace

void BindEnvs(nb::module_& module) {
  BindEnv(module);
  nb::class_<Envs> envs(module, "Envs");
  DefineSpec(envs);
  envs.def(nb::init<const std::string&, const std::string&, int, int>(),
           nb::call_guard<nb::gil_scoped_release>())
      .def("reset", &Envs::Reset)
      .def("step", &Envs::Step);

  module.def("body_names", &envs::BodyNames);
  module.def("game_names", &envs::GameNames);
  module.def("body_of", [](const std::string& name) { return envs::ParseEnvName(name).body; });
  module.def("physics_names", [] {
    std::vector<std::string> names;
    for (const envs::Physics physics : envs::kAllPhysics) names.push_back(PhysicsName(physics));
    return names;
  });
  module.def("score_range", [](const std::string& name) {
    const auto range = envs::MakeEnv(name)->spec().score_range;
    if (!range) throw std::invalid_argument("env: expected one that D4RL scores, found " + name);
    return std::pair(range->min, range->max);
  });
  module.def("model_xml", [](const std::string& body, const std::string& physics) {
    return envs::BodyMjcf(body, envs::ParsePhysics(physics));
  });
}

}  // namespace cosdt::python
