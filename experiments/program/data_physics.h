#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "datasets/recorded_env.h"

namespace cosdt::experiments {

// {physics, env_id, mujoco_version, unlike, source}, null for what the file does not say; null if
// it says nothing.
nlohmann::json DescribeRecord(const datasets::RecordedEnv& recorded);

// Sets `physics`, in which agents are to be evaluated, if it is empty: to the data's, or to d4rl if
// the data does not say. Returns one line for the user: that the file decided, or that it was made
// in another environment than was asked for; "" if there is nothing to say. Throws FileError if
// physics is empty and agents cannot be evaluated in the data's environment, a body's. `path` is
// named in both; `env` is "" if nothing can be evaluated.
std::string ChoosePhysics(const datasets::RecordedEnv& recorded, const std::string& path,
                          const std::string& env, std::string& physics);

}  // namespace cosdt::experiments
