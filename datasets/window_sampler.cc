#include "datasets/window_sampler.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "datasets/random.h"

namespace cosdt::datasets {
namespace {

// An integer below `count` for (seed, position). The high half of the product is uniform up to
// count / 2^64.
uint64_t Draw(uint64_t seed, uint64_t position, uint64_t count) {
  const uint64_t bits = SplitMix64(SplitMix64(seed) ^ position);
  return static_cast<uint64_t>((static_cast<unsigned __int128>(bits) * count) >> 64);
}

void ExpectSize(const char* name, size_t found, size_t expected) {
  if (found == expected) return;
  throw std::invalid_argument(std::string("batch: ") + name + ": expected " +
                              std::to_string(expected) + " values, found " + std::to_string(found));
}

}  // namespace

void WindowOptions::Validate() const {
  if (context < 1) {
    throw std::invalid_argument("context: expected at least 1, found " + std::to_string(context));
  }
  if (!(return_scale > 0)) {
    throw std::invalid_argument("return scale: expected a positive number, found " +
                                std::to_string(return_scale));
  }
  if (timestep_limit < 1) {
    throw std::invalid_argument("timestep limit: expected at least 1, found " +
                                std::to_string(timestep_limit));
  }
}

WindowSampler::WindowSampler(const Episodes& episodes, const WindowOptions& options)
    : episodes_(episodes), options_(options) {
  options_.Validate();
  if (episodes_.rows() == 0) throw std::invalid_argument("windows: expected episodes, found none");
}

void WindowSampler::Sample(std::span<Window> windows) {
  const std::vector<size_t>& offsets = episodes_.offsets;
  for (Window& window : windows) {
    const size_t row = Draw(options_.seed, position_++, episodes_.rows());
    window.episode = std::upper_bound(offsets.begin(), offsets.end(), row) - offsets.begin() - 1;
    window.start = row - offsets[window.episode];
    const size_t length = episodes_.length(window.episode), context = options_.context;
    if (options_.whole) {
      const size_t starts = length <= context ? 1 : length - context + 1;
      window.start = Draw(~options_.seed, position_ - 1, starts);
    }
    window.length = static_cast<int>(std::min(length - window.start, context));
  }
}

void WindowSampler::Fill(std::span<const Window> windows, const Normalizer* normalizer,
                         const WindowBatch& batch) const {
  const size_t context = options_.context;
  const size_t observation_size = episodes_.observation_size;
  const size_t action_size = episodes_.action_size;
  const size_t steps = windows.size() * context;
  ExpectSize("observations", batch.observations.size(), steps * observation_size);
  ExpectSize("actions", batch.actions.size(), steps * action_size);
  ExpectSize("returns_to_go", batch.returns_to_go.size(), steps);
  ExpectSize("timesteps", batch.timesteps.size(), steps);
  ExpectSize("mask", batch.mask.size(), steps);
  if (!batch.previous_actions.empty()) {
    ExpectSize("previous_actions", batch.previous_actions.size(), steps * action_size);
  }

  for (size_t i = 0; i < windows.size(); ++i) {
    const Window& window = windows[i];
    const size_t length = window.length;
    const size_t padding = context - length;
    const size_t from = episodes_.offsets[window.episode] + window.start;
    const size_t to = i * context + padding;
    std::fill_n(batch.observations.begin() + i * context * observation_size,
                padding * observation_size, 0.0f);
    std::fill_n(batch.actions.begin() + i * context * action_size, padding * action_size, 0.0f);
    std::fill_n(batch.returns_to_go.begin() + i * context, padding, 0.0f);
    std::fill_n(batch.timesteps.begin() + i * context, padding, int64_t{0});
    std::fill_n(batch.mask.begin() + i * context, padding, false);

    std::copy_n(episodes_.actions.begin() + from * action_size, length * action_size,
                batch.actions.begin() + to * action_size);
    if (!batch.previous_actions.empty()) {
      // an episode's first step has none
      const size_t none = padding + (window.start == 0 ? 1 : 0), known = context - none;
      const auto out = batch.previous_actions.begin() + i * context * action_size;
      std::fill_n(out, none * action_size, episodes_.discrete_actions > 0 ? -1.0f : 0.0f);
      std::copy_n(episodes_.actions.begin() + (from + length - known - 1) * action_size,
                  known * action_size, out + none * action_size);
    }
    const std::span observations = std::span(episodes_.observations)
                                       .subspan(from * observation_size, length * observation_size);
    const std::span out =
        batch.observations.subspan(to * observation_size, length * observation_size);
    if (normalizer) {
      normalizer->Apply(observations, out);
    } else {
      std::ranges::copy(observations, out.begin());
    }
    for (size_t t = 0; t < length; ++t) {
      batch.returns_to_go[to + t] =
          static_cast<float>(episodes_.returns_to_go[from + t] / options_.return_scale);
      batch.timesteps[to + t] =
          std::min(static_cast<int64_t>(window.start + t), options_.timestep_limit - 1);
      batch.mask[to + t] = true;
    }
  }
}

}  // namespace cosdt::datasets
