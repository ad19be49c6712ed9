#include "experiments/program/recorder.h"

#include <algorithm>
#include <stdexcept>

namespace cosdt::experiments {
namespace {

constexpr int kWidth = 640, kHeight = 480;
constexpr double kMaxFramesPerSecond = 60;

const envs::MujocoEnv& Body(const envs::Env& env) {
  const auto* const body = dynamic_cast<const envs::MujocoEnv*>(&env.fully_observed());
  if (body) return *body;
  throw std::invalid_argument("video: expected a body to film, found " + env.spec().name +
                              ", which has none");
}

}  // namespace

Recorder::Recorder(const envs::Env& env, const std::string& file)
    : every_(std::max(
          1, static_cast<int>(1 / (env.spec().step_seconds * kMaxFramesPerSecond) + 0.999))),
      renderer_(Body(env), kWidth, kHeight),
      writer_(file, kWidth, kHeight, 1 / (env.spec().step_seconds * every_)) {}

void Recorder::Watch(const envs::Env& env) {
  if (step_++ % every_ == 0) writer_.Add(renderer_.Frame(Body(env)));
}

void Recorder::Close() { writer_.Close(); }

}  // namespace cosdt::experiments
