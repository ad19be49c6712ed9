#pragma once

#include <string>
#include <string_view>

namespace cosdt::datasets {

// Facts of gym's hopper, half cheetah and walker2d that can be checked without a simulator, as
// D4RL's files have them.
struct Body {
  const char* name;
  int observation_size;
  int action_size;
  int nq;  // an observation is qpos[1:nq], then qvel[0:nv]
  int nv;
  double step_seconds;
  double healthy_reward;  // reward = dx/dt + healthy_reward - control_cost |a|^2
  double control_cost;
  bool clips_velocities;    // to [-10, 10] in observations
  double max_reward_error;  // of a reward against the observed velocities, see check.h
  double max_jump;          // that velocities leave unexplained within an episode, see check.h
};

// The body of that name ("hopper"), or null.
const Body* FindBody(std::string_view name);

// The body whose sizes these are. Half cheetah and walker2d share theirs: the file's name decides,
// and if it has neither name, the first observation's height (walker2d lives within 0.8 .. 2 m,
// half cheetah's torso moves around 0). Null if no body fits.
const Body* GuessBody(const std::string& path, int observation_size, int action_size,
                      float first_height);

}  // namespace cosdt::datasets
