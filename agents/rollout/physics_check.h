#pragma once

#include <map>
#include <string>

#include "datasets/transitions.h"
#include "envs/model.h"

namespace cosdt::agents {

// A simulated step's distance from the file's: the largest difference over an observation's values.
struct Residual {
  double median = 0;
  double p90 = 0;
  double max = 0;
};

struct PhysicsReport {
  int transitions = 0;   // stepped
  bool rebuilt = false;  // states came from observations, not from infos/qpos and infos/qvel
  std::map<envs::Physics, Residual> residuals;

  // Whose body made the file: "d4rl", "gymnasium-v4", "gymnasium-v5", "gymnasium" if the rewards
  // of terminating steps do not tell v4 from v5, "none" if no body fits.
  std::string verdict;
};

// Steps up to `max` of the file's transitions, spread over it, in every physics mode from the
// state before them, and compares with next_observations (or the next row if the episode
// continues). Without infos/* the state is rebuilt from the observation: x does not matter, and
// rows with a velocity that the observation clips are left out. The report has no transitions if
// none can be stepped. Throws std::invalid_argument if env is unknown or its sizes do not fit.
PhysicsReport ResimulateTransitions(const datasets::Transitions& transitions,
                                    const std::string& env, int max = 2000);

}  // namespace cosdt::agents
