#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "datasets/episodes.h"
#include "datasets/normalizer.h"

namespace cosdt::datasets {

// Up to `context` steps of one episode: rows start .. start + length of it.
struct Window {
  size_t episode = 0;
  size_t start = 0;
  int length = 0;
};

// A batch of windows in the caller's arrays, row-major, K = context. A window shorter than K stands
// at the right; what is left of it is zero, and false in `mask`.
struct WindowBatch {
  std::span<float> observations;   // [B, K, observation_size]
  std::span<float> actions;        // [B, K, action_size]
  std::span<float> returns_to_go;  // [B, K]
  std::span<int64_t> timesteps;    // [B, K]: steps since the episode began
  std::span<bool> mask;            // [B, K]
  // [B, K, action_size] of the steps before; zero at an episode's first, -1 if actions are
  // discrete. Or empty: not wanted.
  std::span<float> previous_actions = {};
};

// What returns-to-go are divided by unless options say otherwise; the original's.
inline constexpr double kReturnScale = 1000;

struct WindowOptions {
  int context = 20;  // K
  double return_scale = kReturnScale;
  int64_t timestep_limit = 1000;  // timesteps are clamped to timestep_limit - 1
  uint64_t seed = 0;

  // Draw only windows that the episode's end does not cut, or whole episodes if they are shorter
  // than K: for tasks whose end depends on their beginning, which few of the others hold together.
  bool whole = false;

  // Throws std::invalid_argument if a number is not positive.
  void Validate() const;
};

// Draws windows as the Decision Transformer does: the trajectory in proportion to its length, the
// start uniformly among its steps (so every row of the data starts a window equally often) or, with
// `whole`, among those that have K steps from there on, and from there up to K steps. Windows are
// indices; only Fill touches data. Window i depends only on the seed and i: the position is all
// there is to save and restore.
class WindowSampler {
 public:
  // `episodes` must outlive this object.
  WindowSampler(const Episodes& episodes, const WindowOptions& options);

  // The next windows.
  void Sample(std::span<Window> windows);

  // Writes windows to a batch of as many; observations are normalized if a normalizer
  // is given. Throws std::invalid_argument if an array has another size.
  void Fill(std::span<const Window> windows, const Normalizer* normalizer,
            const WindowBatch& batch) const;

  // How many windows were drawn.
  uint64_t position() const { return position_; }
  void set_position(uint64_t position) { position_ = position; }

 private:
  const Episodes& episodes_;
  WindowOptions options_;
  uint64_t position_ = 0;
};

}  // namespace cosdt::datasets
