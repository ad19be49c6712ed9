#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "datasets/body.h"
#include "datasets/transitions.h"

namespace cosdt::datasets {

// Something about a file and where it is.
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

// Looks for what goes wrong in D4RL files, without a simulator. `body` may be null: then what needs
// its facts is left out. Files without timeouts are cut at `horizon`. Codes of findings:
//   not_finite    NaN or infinity
//   action_range  actions outside [-1, 1]
//   jump          observations that do not follow each other, without a terminal or timeout
//   long_episode  more steps than the horizon
//   no_episode    no terminal and no timeout
//   duplicate     an episode that is in the file twice; not looked for in tasks without infos/qpos,
//                 whose episodes repeat
//   shifted       next_observations or rewards of another row
//   reward        rewards that do not fit the observations' motion
//   returns       returns other than those of D4RL's file of that name
// and of notes: short_timeout, no_timeouts, partial_episode.
CheckReport CheckTransitions(const std::string& path, const Transitions& transitions,
                             const Body* body, size_t horizon = 1000);

}  // namespace cosdt::datasets
