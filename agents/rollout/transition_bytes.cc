#include "agents/rollout/transition_bytes.h"

#include <cstring>

namespace cosdt::agents {
namespace {

using datasets::Transitions;

// Calls visit(array, of the other) for every array of steps.
template <class One, class Other, class Visitor>
void VisitArrays(One& one, Other& other, const Visitor& visit) {
  visit(one.observations, other.observations);
  visit(one.actions, other.actions);
  visit(one.rewards, other.rewards);
  visit(one.next_observations, other.next_observations);
  visit(one.log_probs, other.log_probs);
  visit(one.qpos, other.qpos);
  visit(one.qvel, other.qvel);
  visit(one.terminals, other.terminals);
  visit(one.timeouts, other.timeouts);
}

// A copy without steps.
Transitions Empty(const Transitions& like) {
  Transitions empty = like;
  VisitArrays(empty, like, [](auto& array, const auto&) { array.clear(); });
  return empty;
}

}  // namespace

std::string ToBytes(const Transitions& transitions) {
  std::string bytes;
  VisitArrays(transitions, transitions, [&](const auto& array, const auto&) {
    const uint64_t size = array.size() * sizeof array[0];
    bytes.append(reinterpret_cast<const char*>(&size), sizeof size);
    bytes.append(reinterpret_cast<const char*>(array.data()), size);
  });
  return bytes;
}

Transitions FromBytes(const Transitions& like, const std::string& bytes) {
  Transitions transitions = Empty(like);
  const char* at = bytes.data();
  VisitArrays(transitions, like, [&](auto& array, const auto&) {
    uint64_t size = 0;
    std::memcpy(&size, at, sizeof size);
    at += sizeof size;
    array.resize(size / sizeof array[0]);
    if (size > 0) std::memcpy(array.data(), at, size);
    at += size;
  });
  return transitions;
}

std::vector<Transitions> SplitEpisodes(const Transitions& transitions) {
  std::vector<Transitions> episodes;
  const size_t rows = transitions.rows();
  for (size_t begin = 0, row = 0; row < rows; ++row) {
    if (!transitions.terminals[row] && !transitions.timeouts[row]) continue;
    Transitions& episode = episodes.emplace_back(Empty(transitions));
    VisitArrays(episode, transitions, [&](auto& to, const auto& from) {
      const auto width = static_cast<ptrdiff_t>(from.size() / rows);
      to.assign(from.begin() + static_cast<ptrdiff_t>(begin) * width,
                from.begin() + static_cast<ptrdiff_t>(row + 1) * width);
    });
    begin = row + 1;
  }
  return episodes;
}

}  // namespace cosdt::agents
