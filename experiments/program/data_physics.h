#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "datasets/recorded_env.h"

namespace cosdt::experiments {

// {physics, env_id, mujoco_version, unlike, source}, where null is what the file does not say; null
// where it says nothing.
nlohmann::json DescribeRecord(const datasets::RecordedEnv& recorded);

// Sets `physics`, in which agents are to be evaluated, where it is empty: to the data's, or to d4rl
// where the data does not say. Returns what the user should know, in one line: that the file
// decided, or that it was made in another environment than was asked for; "" where there is nothing
// to say. Throws FileError where physics is empty and the data's environment, a body's, is none
// that agents can be evaluated in. `path` is named in both; `env` is "" where nothing can be
// evaluated.
std::string ChoosePhysics(const datasets::RecordedEnv& recorded, const std::string& path,
                          const std::string& env, std::string& physics);

}  // namespace cosdt::experiments
