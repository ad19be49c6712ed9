// The policies that this project trained itself (behaviour/sac_trainer.h) and carries inside.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "datasets/hdf5_file.h"

namespace cosdt::agents {

// "demo/hopper-medium", "demo/hopper-expert", and "demo/hopper-STEPS" for the snapshots that
// medium-replay is made of.
std::vector<std::string> DemoPolicies();

// Such a policy's file, which is part of the program. Throws std::invalid_argument naming the
// policies there are.
std::unique_ptr<datasets::Hdf5File> OpenDemoPolicy(const std::string& name);

}  // namespace cosdt::agents
