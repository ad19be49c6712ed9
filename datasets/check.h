#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "datasets/body.h"
#include "datasets/episodes.h"
#include "datasets/transitions.h"

namespace cosdt::datasets {

// Something about a file, and its place.
struct Finding {
  std::string code;           // see CheckTransitions
  std::string key;            // of the array, "" for the file
  std::optional<size_t> row;  // the first one
  std::string detail;
};

struct CheckReport {
  std::vector<Finding> findings;  // what makes the file unfit
  std::vector<Finding> notes;     // what a reader should know
};

struct CheckOptions {
  const Body* body = nullptr;  // null: what needs its facts is left out
  size_t horizon = 1000;       // maximum steps of an episode
  bool unit_actions = true;    // actions are within [-1, 1], as D4RL's are and those of all bodies,
                               // if they are continuous
};

// Looks for what goes wrong in data, without a simulator; `path` is a file whose name may be one of
// D4RL's. `cuts` are where the file's episodes end. Codes of findings:
//   not_finite    NaN or infinity
//   action_range  actions outside [-1, 1], or discrete ones other than 0 to n - 1
//   jump          observations that do not follow each other, without a terminal or timeout
//   goes_on       an episode that continues after a terminal
//   every_row     every row ends an episode
//   long_episode  more steps than the horizon
//   no_episode    no terminal and no timeout
//   duplicate     an episode that is in the file twice; not looked for in tasks without infos/qpos,
//                 whose episodes repeat
//   shifted       next_observations or rewards of another row
//   reward        rewards that do not fit the observations' motion
//   returns       returns other than those of D4RL's file of that name
// and of notes: short_timeout, no_timeouts, partial_episode.
CheckReport CheckTransitions(const std::string& path, const Transitions& transitions,
                             const Cuts& cuts, const CheckOptions& options);

}  // namespace cosdt::datasets
