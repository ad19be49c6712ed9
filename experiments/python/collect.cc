// Collecting data with a policy that is a Python function.
#include <nanobind/stl/string.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agents/rollout/collect.h"
#include "datasets/hdf5_writer.h"
#include "datasets/transitions.h"
#include "envs/registry.h"
#include "experiments/python/bindings.h"

namespace cosdt::python {
namespace {

// The function takes observations [n, observation_size] and returns actions [n, action_size], both
// float32 and contiguous. What it raises is thrown.
class FunctionPolicy : public agents::Policy {
 public:
  FunctionPolicy(nb::callable function, const envs::EnvSpec& spec)
      : function_(std::move(function)), width_(spec.observation_size) {}
  ~FunctionPolicy() override {
    const nb::gil_scoped_acquire acquire;
    function_.reset();
  }

  void Act(std::span<const float> observations, std::span<envs::Rng* const>,
           std::span<float> actions, std::span<float>) override {
    const nb::gil_scoped_acquire acquire;
    auto* const copy = new std::vector<float>(observations.begin(), observations.end());
    const nb::capsule owner(copy,
                            [](void* p) noexcept { delete static_cast<std::vector<float>*>(p); });
    const size_t shape[] = {observations.size() / width_, width_};
    const nb::object result =
        function_(nb::ndarray<nb::numpy, float>(copy->data(), 2, shape, owner));
    const auto chosen = nb::cast<Array<const float, 2>>(result);
    ExpectSize("policy", chosen, actions.size());
    std::copy_n(chosen.data(), chosen.size(), actions.begin());
  }

 private:
  nb::callable function_;
  size_t width_;
};

// Writes the steps to a file in D4RL's layout, and returns how many there are.
size_t Collect(const std::string& name, const std::string& physics, nb::callable policy,
               int64_t transitions, uint64_t seed, int threads, const std::string& out) {
  const auto env = envs::MakeEnv(name, envs::ParsePhysics(physics));
  std::vector<agents::WeightedPolicy> policies(1);
  policies[0].policy =
      std::make_unique<FunctionPolicy>(std::move(policy), env->fully_observed().spec());
  const nb::gil_scoped_release release;
  datasets::Hdf5Writer writer(out);  // before the work: a path may not be writable
  datasets::Transitions steps = agents::Collect(
      *env, policies,
      {.transitions = transitions, .seed = seed, .threads = threads, .progress = nullptr});
  steps.log_probs.clear();  // which nobody knows
  datasets::WriteTransitions(steps, writer);
  writer.Commit();
  return steps.rows();
}

}  // namespace

void BindCollect(nb::module_& module) {
  module.def("collect", &Collect);
  module.def("full_observation_size", [](const std::string& name) {
    return envs::MakeEnv(name)->fully_observed().spec().observation_size;
  });
}

}  // namespace cosdt::python
