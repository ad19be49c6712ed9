#include "experiments/recorder.h"

#include <algorithm>

namespace cosdt::experiments {
namespace {

constexpr int kWidth = 640, kHeight = 480;
constexpr double kMostFramesPerSecond = 60;

}  // namespace

Recorder::Recorder(const envs::MujocoEnv& env, const std::string& file)
    : every_(std::max(
          1, static_cast<int>(1 / (env.spec().step_seconds * kMostFramesPerSecond) + 0.999))),
      renderer_(env, kWidth, kHeight),
      writer_(file, kWidth, kHeight, 1 / (env.spec().step_seconds * every_)) {}

void Recorder::Watch(const envs::MujocoEnv& env) {
  if (step_++ % every_ == 0) writer_.Add(renderer_.Frame(env));
}

void Recorder::Close() { writer_.Close(); }

}  // namespace cosdt::experiments
