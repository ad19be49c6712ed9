#include <cstdio>
#include <vector>

#include "envs/registry.h"

int main() {
  const auto env = cosdt::envs::MakeEnv("hopper");
  env->Reset(/*seed=*/0);
  const std::vector<double> action(env->spec().action_size);
  std::printf("reward %g\n", env->Step(action).reward);
}
