#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "envs/env.h"
#include "envs/model.h"

namespace cosdt::envs {

// The bodies: "hopper", "halfcheetah", "walker2d". Each is a MujocoEnv.
std::vector<std::string> BodyNames();

// POPGym's tasks: "popgym-repeat-first-easy" and so on.
std::vector<std::string> GameNames();

// An environment's name taken apart:
//   hopper              {"hopper", ""}
//   hopper-position     {"hopper", "position"}, and likewise velocity and delayed
//   hopper-dropped-50   {"hopper", "dropped", 50}: percent, 1 to 99
//   tmaze-100           {"", "tmaze", 100}: the corridor, 10 to 1000
//   popgym-autoencode-easy     {"", "popgym-autoencode", 0}: the Level
//   rate-tmaze-150             {"", "rate-tmaze", 150}: the longest episode's steps, 3 to 9600, and
//                              likewise rate-tmaze-max-150, rate-tmaze-noise-150 and
//                              rate-tmaze-max-noise-150
//   memory-rl-tmaze-50         {"", "memory-rl-tmaze", 50}: the corridor, 1 to 1500
struct EnvName {
  std::string body;
  std::string task;
  int number = 0;
};

// Throws std::invalid_argument that says which names and numbers there are.
EnvName ParseEnvName(std::string_view name);

// The MJCF of a body in a physics mode, which gymnasium's own environments take as xml_file
// (WriteInertias in model.h). Throws std::invalid_argument if `body` is none of BodyNames().
std::string BodyMjcf(std::string_view body, Physics physics);

// Makes an environment by name. Throws what ParseEnvName throws, and std::invalid_argument if
// another physics mode than kD4rl, the default, is asked of a task without a body.
std::unique_ptr<Env> MakeEnv(std::string_view name, Physics physics = Physics::kD4rl);

}  // namespace cosdt::envs
