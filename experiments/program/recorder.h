#pragma once

#include <string>

#include "agents/rollout/video_writer.h"
#include "envs/renderer.h"

namespace cosdt::experiments {

// Records an episode; for a task its body. The frame rate is the simulation's, reduced to one that
// players can show.
class Recorder {
 public:
  // Throws if nothing can be rendered or written; std::invalid_argument for a task without a body.
  Recorder(const envs::Env& env, const std::string& file);

  // Called after a reset and after every step.
  void Watch(const envs::Env& env);
  void Close();

 private:
  int every_;  // steps per frame
  int step_ = 0;
  envs::Renderer renderer_;
  agents::VideoWriter writer_;
};

}  // namespace cosdt::experiments
