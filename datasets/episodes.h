#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "datasets/unset_vector.h"

namespace cosdt::datasets {

// How an episode's last row in the file came about. A timeout is no terminal state.
enum class Ending : uint8_t { kTerminal, kTimeout, kPartial };

// Whole episodes, one after the other, in flat row-major arrays.
struct Episodes {
  std::string env;  // "hopper", "halfcheetah", "walker2d", the task that the files were made in
                    // ("hopper-position"), or "" if no body fits
  int observation_size = 0;
  int action_size = 0;
  int discrete_actions = 0;       // n of Discrete(n): actions are the integers 0 to n - 1, each of
                                  // which is one value; 0: continuous
  FloatVector observations;       // [rows, observation_size]
  FloatVector actions;            // [rows, action_size]
  FloatVector rewards;            // [rows]
  FloatVector returns_to_go;      // [rows], undiscounted: the rewards from this row to the last
  FloatVector next_observations;  // as observations, or empty if they were not asked for
  std::vector<size_t> offsets;    // [episodes + 1]: rows offsets[i] .. offsets[i + 1] are episode i
  std::vector<Ending> endings;    // [episodes]
  std::vector<double> returns;    // [episodes], undiscounted

  size_t size() const { return endings.size(); }
  size_t rows() const { return offsets.empty() ? 0 : offsets.back(); }
  size_t length(size_t episode) const { return offsets[episode + 1] - offsets[episode]; }
};

struct ReadOptions {
  std::string env{};  // "" finds it from the file's task or env_spec, or from its name and shapes
  bool keep_partial = false;  // the trailing rows that no flag ends
  bool next_observations = false;
  int horizon = 1000;  // cuts episodes of files without timeouts (v0)
  int threads = 0;     // that inflate; 0: one per core
};

// Reads D4RL and Minari files, one after the other, into one set of episodes. A row with a terminal
// or a timeout, by any name (episode_ends.h), ends its episode. Besides the result only the flags
// are held, one byte per row each and eight while they are read. Throws FileError if a file is
// damaged, if files do not fit each other or a given env, if a discrete action is not one of
// 0 to n - 1, and if no episode is left;
// std::invalid_argument for an env that is no body, of files that name no task.
Episodes ReadEpisodes(const std::vector<std::string>& paths, const ReadOptions& options = {});
Episodes ReadEpisodes(const std::string& path, const ReadOptions& options = {});

// Where episodes end: offsets [episodes + 1] and endings [episodes]. timeouts may be empty: then a
// row that makes an episode `horizon` steps long is its timeout. Rows after the last flag make a
// last episode, kPartial.
struct Cuts {
  std::vector<size_t> offsets{0};
  std::vector<Ending> endings;
};
Cuts CutEpisodes(std::span<const uint8_t> terminals, std::span<const uint8_t> timeouts,
                 size_t horizon);

// Fills returns_to_go and returns from rewards and offsets. Sums are float64: over 1000 steps
// float32 sums would be off by up to 1e-4 of the return.
void SumReturns(Episodes& episodes);

// The returns alone, [episodes]: of rewards [rows] with these offsets [episodes + 1].
std::vector<double> SumRewards(std::span<const float> rewards, std::span<const size_t> offsets);

// The best `percent` % of the episodes by return, at least one, in the file's order (filtered
// behaviour cloning). Throws std::invalid_argument unless 0 < percent <= 100.
std::vector<size_t> TopEpisodes(const Episodes& episodes, double percent);

// All but the partial ones, in the file's order.
std::vector<size_t> CompleteEpisodes(const Episodes& episodes);

// Copies of these episodes, in this order. Throws std::out_of_range for one that is not there.
Episodes CopyEpisodes(const Episodes& episodes, std::span<const size_t> chosen);

// Removes all other episodes, in place. `kept` ascends; throws std::invalid_argument if not.
void KeepEpisodes(Episodes& episodes, std::span<const size_t> kept);

}  // namespace cosdt::datasets
