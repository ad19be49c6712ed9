#include "agents/rollout/play_together.h"

#include <bit>
#include <exception>

namespace cosdt::agents {
namespace {

// Adds up what processes have; bits of returns, so that each comes out as it was.
void SumEpisodes(ProcessGroup& group, std::span<RolloutResult> results, bool failed) {
  std::vector<int64_t> values = {failed};
  for (const RolloutResult& result : results) {
    for (const double value : result.returns) values.push_back(std::bit_cast<int64_t>(value));
    values.insert(values.end(), result.lengths.begin(), result.lengths.end());
    values.push_back(result.diverged);
  }
  group.Sum(torch::from_blob(values.data(), {static_cast<int64_t>(values.size())}, torch::kInt64));
  auto next = values.begin();
  if (*next++ > 0) {
    if (failed) return;
    throw EpisodesMissing();
  }
  for (RolloutResult& result : results) {
    for (double& value : result.returns) value = std::bit_cast<double>(*next++);
    for (int& length : result.lengths) length = static_cast<int>(*next++);
    result.diverged = static_cast<int>(*next++);
  }
}

}  // namespace

void PlayTogether(ProcessGroup* group, std::span<RolloutResult> results,
                  const std::function<void()>& play) {
  if (!group) return play();
  std::exception_ptr failure;
  try {
    const ProcessGroup::Computation computation(group);
    play();
  } catch (...) {
    failure = std::current_exception();
  }
  SumEpisodes(*group, results, failure != nullptr);
  if (failure) std::rethrow_exception(failure);
}

ProcessGroup::Share EpisodesOf(const ProcessGroup* group, int count) {
  return group ? group->ShareOf(count) : ProcessGroup::Share{0, count};
}

}  // namespace cosdt::agents
