#include "experiments/program/data_physics.h"

namespace cosdt::experiments {
namespace {

using nlohmann::json;

json TextOrNull(const std::string& text) { return text.empty() ? json() : json(text); }

}  // namespace

json DescribeRecord(const datasets::RecordedEnv& recorded) {
  if (recorded.source.empty()) return nullptr;
  return {{"physics", TextOrNull(recorded.physics)},
          {"env_id", TextOrNull(recorded.id)},
          {"mujoco_version", TextOrNull(recorded.mujoco_version)},
          {"unlike", TextOrNull(recorded.unlike)},
          {"source", recorded.source}};
}

std::string ChoosePhysics(const datasets::RecordedEnv& recorded, const std::string& path,
                          const std::string& env, std::string& physics) {
  const bool asked = !physics.empty();
  if (!asked) physics = recorded.physics.empty() ? "d4rl" : recorded.physics;
  if (env.empty() || (recorded.physics.empty() && recorded.unlike.empty())) return "";
  if (!asked && !recorded.unlike.empty()) {
    throw datasets::FileError(path, recorded.source,
                              "an environment that cosdt simulates, or --physics for the one to "
                              "evaluate in",
                              datasets::EnvText(recorded));
  }
  if (asked && physics != recorded.physics) {
    return "warning: agents are evaluated in " + physics + " physics; " + path + " was made in " +
           datasets::RecordText(recorded);
  }
  if (asked || recorded.source == datasets::kD4rlsList) return "";  // the usual case
  return "physics: " + physics + ", for " + path + " was made in " + datasets::RecordText(recorded);
}

}  // namespace cosdt::experiments
