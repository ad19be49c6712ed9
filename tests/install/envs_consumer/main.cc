#include <cstdio>
#include <vector>

#include "envs/registry.h"

int main() {
  const auto env = cosdt::envs::MakeEnv("hopper");
  cosdt::envs::Rng rng = cosdt::envs::MakeRng(0, 0);
  env->Reset(rng);
  const std::vector<double> action(env->spec().action_size);
  std::printf("reward %g\n", env->Step(action).reward);
}
