#include <cstdio>

#include "agents/gaussian_policy.h"  // the header with LibTorch in it
#include "agents/rollout.h"
#include "envs/registry.h"

int main() {
  const auto env = cosdt::envs::MakeEnv("halfcheetah", cosdt::envs::Physics::kGymnasiumV5);
  const auto policy = cosdt::agents::MakePolicy("random", env->spec(), /*deterministic=*/false);
  const auto result =
      cosdt::agents::Rollout(*env, *policy, {.episodes = 2, .seed = 1, .threads = 2});
  std::printf("returns %g %g\n", result.returns[0], result.returns[1]);
}
