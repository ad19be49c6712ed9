#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "envs/env.h"
#include "envs/model.h"

namespace cosdt::envs {

// The names that MakeEnv knows: "hopper", "halfcheetah", "walker2d".
std::vector<std::string> EnvNames();

// Makes an environment by name. Throws std::invalid_argument that lists the names.
std::unique_ptr<Env> MakeEnv(std::string_view name, Physics physics = Physics::kD4rl);

}  // namespace cosdt::envs
