#include "agents/training/device_windows.h"

namespace cosdt::agents {

using torch::Tensor;

DeviceWindows::DeviceWindows(const datasets::Episodes& episodes,
                             const datasets::Normalizer& normalizer,
                             const datasets::WindowOptions& options, const torch::Device& device)
    : offsets_(episodes.offsets),
      timestep_limit_(options.timestep_limit),
      no_action_(episodes.discrete_actions > 0 ? kNoAction : 0) {
  const auto rows = static_cast<int64_t>(episodes.rows());
  Tensor observations = torch::empty({rows, static_cast<int64_t>(episodes.observation_size)});
  Tensor actions = torch::empty({rows, static_cast<int64_t>(episodes.action_size)});
  Tensor returns_to_go = torch::empty({rows});
  const auto values = [](const Tensor& x) {
    return std::span(x.data_ptr<float>(), static_cast<size_t>(x.numel()));
  };
  // on the CPU, so that the bits are the sampler's
  normalizer.Apply(episodes.observations, values(observations));
  std::ranges::copy(episodes.actions, values(actions).begin());
  std::ranges::transform(episodes.returns_to_go, values(returns_to_go).begin(),
                         [&](float x) { return static_cast<float>(x / options.return_scale); });
  observations_ = observations.to(device);
  actions_ = actions.to(device);
  returns_to_go_ = returns_to_go.to(device);
  steps_ = torch::arange(options.context, torch::TensorOptions(device).dtype(torch::kInt64));
}

void DeviceWindows::Describe(std::span<const datasets::Window> windows, int64_t* described) const {
  for (const datasets::Window& window : windows) {
    *described++ = static_cast<int64_t>(offsets_[window.episode] + window.start);
    *described++ = static_cast<int64_t>(window.start);
    *described++ = window.length;
  }
}

torch::Tensor DeviceWindows::Describe(std::span<const datasets::Window> windows) const {
  const Tensor described = torch::empty({static_cast<int64_t>(windows.size()), 3}, torch::kInt64);
  Describe(windows, described.data_ptr<int64_t>());
  return described;
}

Batch DeviceWindows::Gather(const Tensor& described, bool previous_actions) const {
  const int64_t batch = described.size(0), context = steps_.size(0);
  const auto column = [&](int64_t i) { return described.narrow(1, i, 1); };  // [B, 1]
  // steps since the window's first one; negative left of it, in padding
  const Tensor step = steps_ - (context - column(2));
  const Tensor mask = step >= 0;
  const Tensor since = step.clamp_min(0);
  const Tensor rows = (column(0) + since).flatten();
  const Tensor timesteps = column(1) + since;
  const auto gather = [&](const Tensor& from, const Tensor& at, const Tensor& present,
                          double absent = 0) {
    const Tensor found = from.index_select(0, at).unflatten(0, {batch, context});
    const Tensor real = from.dim() == 1 ? present : present.unsqueeze(-1);
    return torch::where(real, found, torch::full({}, absent, found.options()));
  };
  return {.returns_to_go = gather(returns_to_go_, rows, mask),
          .observations = gather(observations_, rows, mask),
          .actions = gather(actions_, rows, mask),
          .timesteps = timesteps.clamp_max(timestep_limit_ - 1) * mask,
          .mask = mask,
          .previous_actions = previous_actions ? gather(actions_, (rows - 1).clamp_min(0),
                                                        mask & (timesteps > 0), no_action_)
                                               : Tensor()};
}

}  // namespace cosdt::agents
