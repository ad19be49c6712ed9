// Writes the checkpoint of an untrained agent, for the example of README.md to act with.
#include <cstdio>

#include "agents/models/checkpoint.h"
#include "agents/policies/gaussian_policy.h"
#include "agents/rollout/rollout.h"
#include "envs/registry.h"

int main(int, char** argv) {
  const auto env = cosdt::envs::MakeEnv("halfcheetah", cosdt::envs::Physics::kGymnasiumV5);
  const auto policy = cosdt::agents::MakePolicy("random", env->spec(), /*deterministic=*/false);
  const auto result =
      cosdt::agents::Rollout(*env, *policy, {.episodes = 2, .seed = 1, .threads = 2});
  std::printf("returns %g %g\n", result.returns[0], result.returns[1]);

  cosdt::agents::AgentOptions options;
  options.SetSizes(11, 3);
  cosdt::agents::CheckpointInfo info;
  info.normalizer.mean.assign(11, 0.0f);
  info.normalizer.std.assign(11, 1.0f);
  info.env = "hopper";
  cosdt::agents::WriteCheckpoint(argv[1], *cosdt::agents::MakeAgent(options), info);
}
