#include "agents/training/device_windows.h"

#include <gtest/gtest.h>

#include "tests/agents/training/small_training.h"

namespace cosdt::agents {
namespace {

using torch::Tensor;

template <class T>
std::span<T> Values(const Tensor& x) {
  return {x.data_ptr<T>(), static_cast<size_t>(x.numel())};
}

TEST(DeviceWindowsTest, GathersWhatTheSamplerFills) {
  const datasets::Episodes continuous = MakeEpisodes(), discrete = MakeDiscreteEpisodes();
  const datasets::Normalizer normalizer = datasets::MakeNormalizer(continuous);
  for (const auto& [context, episodes] : {std::pair<int, const datasets::Episodes&>(1, continuous),
                                          {5, continuous},
                                          {12, continuous},
                                          {40, continuous},
                                          {12, discrete}}) {
    const datasets::WindowOptions options = {
        .context = context, .return_scale = 7, .timestep_limit = 20, .seed = 3};
    datasets::WindowSampler sampler(episodes, options);
    std::vector<datasets::Window> windows(50);
    sampler.Sample(windows);
    const int64_t batch = 50, steps = context, action_size = episodes.action_size;
    const Batch filled = {.returns_to_go = torch::empty({batch, steps}),
                          .observations = torch::empty({batch, steps, 3}),
                          .actions = torch::empty({batch, steps, action_size}),
                          .timesteps = torch::empty({batch, steps}, torch::kInt64),
                          .mask = torch::empty({batch, steps}, torch::kBool),
                          .previous_actions = torch::empty({batch, steps, action_size})};
    sampler.Fill(windows, &normalizer,
                 {.observations = Values<float>(filled.observations),
                  .actions = Values<float>(filled.actions),
                  .returns_to_go = Values<float>(filled.returns_to_go),
                  .timesteps = Values<int64_t>(filled.timesteps),
                  .mask = Values<bool>(filled.mask),
                  .previous_actions = Values<float>(filled.previous_actions)});
    const DeviceWindows data(episodes, normalizer, options, torch::kCPU);
    const Batch gathered = data.Gather(data.Describe(windows), /*previous_actions=*/true);
    EXPECT_TRUE(torch::equal(gathered.returns_to_go, filled.returns_to_go));
    EXPECT_TRUE(torch::equal(gathered.observations, filled.observations));
    EXPECT_TRUE(torch::equal(gathered.actions, filled.actions));
    EXPECT_TRUE(torch::equal(gathered.timesteps, filled.timesteps));
    EXPECT_TRUE(torch::equal(gathered.mask, filled.mask));
    EXPECT_TRUE(torch::equal(gathered.previous_actions, filled.previous_actions));
  }
}

}  // namespace
}  // namespace cosdt::agents
