#pragma once

#include <functional>
#include <span>
#include <stdexcept>

#include "agents/processes/process_group.h"
#include "agents/rollout/rollout.h"

namespace cosdt::agents {

// Another process of the group has not played its episodes: it was stopped or failed.
class EpisodesMissing : public std::runtime_error {
 public:
  EpisodesMissing() : std::runtime_error("episodes: another process did not play its share") {}
};

// Calls play(), which fills in this process's episodes of the results, all others being 0, and then
// takes the others' from the group, so that all have all. It reports the group's Progress. What it
// throws is thrown here, and EpisodesMissing in the other processes. Without a group it plays.
void PlayTogether(ProcessGroup* group, std::span<RolloutResult> results,
                  const std::function<void()>& play);

// Of `count` episodes, those that this process plays.
ProcessGroup::Share EpisodesOf(const ProcessGroup* group, int count);

}  // namespace cosdt::agents
