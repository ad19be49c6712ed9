#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "envs/mujoco_env.h"

namespace cosdt::envs {

// Draws environments off screen, through EGL: on a GPU's driver or on Mesa's software renderer; no
// display is needed. An object belongs to the thread that made it.
class Renderer {
 public:
  // Frames are width x height pixels, at most 1280 x 960 (the models' offscreen buffer). Throws
  // std::runtime_error if EGL or OpenGL is missing, std::invalid_argument for a size outside the
  // buffer.
  Renderer(const MujocoEnv& env, int width, int height);
  ~Renderer();
  Renderer(const Renderer&) = delete;
  Renderer& operator=(const Renderer&) = delete;

  int width() const { return width_; }
  int height() const { return height_; }

  // The current state of `env`, which has the model that the renderer was made for, seen by the
  // camera "track" that follows the body: height x width x 3 bytes of RGB, the top row first.
  std::vector<uint8_t> Frame(const MujocoEnv& env);

 private:
  struct Context;
  int width_;
  int height_;
  std::unique_ptr<Context> context_;
};

}  // namespace cosdt::envs
