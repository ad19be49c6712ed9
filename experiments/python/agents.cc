// Trained agents that act, and the statistics of their episodes.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "agents/decoding/agent_session.h"
#include "agents/models/precision.h"
#include "agents/models/target_json.h"
#include "attention/parallel.h"
#include "envs/registry.h"
#include "experiments/program/utf8.h"
#include "experiments/python/bindings.h"
#include "experiments/scores/return_report.h"

namespace cosdt::python {
namespace {

class Session {
 public:
  Session(const std::string& checkpoint, const std::string& decode, int horizon,
          const std::string& precision, int threads)
      : guard_("agent", threads),
        session_(checkpoint, {.decode = agents::ParseDecodeMode(decode),
                              .horizon = horizon,
                              .compute_type = agents::ParsePrecision(precision),
                              .threads = threads}) {}

  // None is auto.
  void Reset(const std::vector<std::optional<double>>& given, Array<const uint64_t, 1> seeds) {
    const PoolGuard::Call call = guard_.Enter();
    std::vector<agents::Target> targets;
    for (const auto& target : given) {
      targets.push_back(target ? *target : agents::Target::Auto());
    }
    session_.Reset(targets, {seeds.data(), seeds.size()});
  }

  // actions [rows, action_size] are written.
  void Act(Array<const double, 2> observations, Array<const double, 1> rewards,
           Array<double, 2> actions) {
    const PoolGuard::Call call = guard_.Enter();
    const attention::OneThread one;  // the decoder cuts rows into pieces for threads
    const auto chosen =
        session_.Act({observations.data(), observations.size()}, {rewards.data(), rewards.size()});
    ExpectSize("actions", actions, chosen.size());
    std::ranges::copy(chosen, actions.data());
  }

  void Keep(const std::vector<int>& rows) {
    const PoolGuard::Call call = guard_.Enter();
    session_.Keep(rows);
  }

  // In JSON.
  std::string Describe() const {
    const agents::CheckpointInfo& info = session_.info();
    const agents::AgentOptions& options = session_.agent().options();
    return experiments::DumpJson({{"agent", options.kind},
                                  {"env", info.env},
                                  {"physics", info.physics},
                                  {"dataset", info.dataset},
                                  {"targets", info.targets},
                                  {"updates", info.updates},
                                  {"context", options.context()},
                                  {"observation_size", options.observation_size()},
                                  {"action_size", options.action_size()},
                                  {"discrete_actions", options.discrete_actions()},
                                  {"reads_targets", options.reads_targets()},
                                  {"rows_at_once", session_.RowsAtOnce()}});
  }

 private:
  PoolGuard guard_;
  agents::AgentSession session_;
};

// `cosdt rollout`'s statistics in JSON; `env` "" has no scores.
std::string DescribeEpisodes(std::vector<double> returns, std::vector<int> lengths, uint64_t seed,
                             const std::string& env) {
  const envs::EnvSpec spec = env.empty() ? envs::EnvSpec() : envs::MakeEnv(env)->spec();
  const nlohmann::json report = experiments::DescribeEpisodes(
      {.returns = std::move(returns), .lengths = std::move(lengths)}, spec, seed);
  return report.dump();
}

}  // namespace

void BindAgents(nb::module_& module) {
  nb::class_<Session>(module, "Session")
      .def(nb::init<const std::string&, const std::string&, int, const std::string&, int>(),
           nb::call_guard<nb::gil_scoped_release>())
      .def("reset", &Session::Reset)
      .def("act", &Session::Act)
      .def("keep", &Session::Keep)
      .def("describe", &Session::Describe);
  module.def("describe_episodes", &DescribeEpisodes, nb::call_guard<nb::gil_scoped_release>());
}

}  // namespace cosdt::python
