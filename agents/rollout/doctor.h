#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agents/rollout/physics_check.h"
#include "agents/rollout/rollout.h"
#include "datasets/check.h"
#include "datasets/known_files.h"
#include "datasets/recorded_env.h"
#include "envs/model.h"

namespace cosdt::agents {

struct DoctorOptions {
  std::string env{};                        // a body; "": from the file's record, name or sizes
  bool play_policy = true;                  // if the file has one
  RolloutOptions rollout{.episodes = 100};  // of the policy; its threads read the file, too

  // Called before the policy is played in a physics mode, which takes a while.
  std::function<void(envs::Physics)> before_rollout = nullptr;
};

// The findings on a dataset file, and whose simulator made it. Fields that were not reached because
// of an earlier finding are empty.
struct Diagnosis {
  // Codes of datasets::CheckTransitions and
  //   file     the file cannot be read
  //   flags    a flag is not 0 or 1, or contradicts another; nothing further is checked
  //   hash     the name is one of D4RL's files, size or SHA-256 are not
  //   physics  its steps fit no physics mode, or another than the file says
  // and of notes: minari, task, env (no body that is simulated), physics (not D4RL's).
  datasets::CheckReport check;

  std::string sha256;
  std::string env;  // the body or task, "" if neither is known
  std::optional<datasets::RecordedEnv> recorded;
  std::optional<datasets::ReturnStatistics> returns;            // of complete episodes
  std::optional<PhysicsReport> physics;                         // of a body's steps
  std::map<envs::Physics, std::vector<double>> policy_returns;  // of the file's own policy
};

// Checks a D4RL or Minari file: its structure, its arrays (datasets/check.h), its name against
// D4RL's, its steps against the simulator's (physics_check.h), and plays its policy in every
// physics mode. Every fault of the file is a finding. Throws std::invalid_argument for
// options that are not valid. Forks (datasets/probe.h): call it before the process has threads of
// its own.
Diagnosis Diagnose(const std::string& path, const DoctorOptions& options = {});

}  // namespace cosdt::agents
