// How an agent decides while episodes run: what of the past a decision reads, and how it is kept.
#pragma once

#include <span>
#include <string>

namespace cosdt::agents {

// With K, the agent's context in steps:
//   window     computes the last K steps again at every step, as in training. Published figures
//              come from it.
//   recurrent  carries the attention's state over the whole episode: constant time, and a context
//              that is never cut. cosFormer's weights must reach that far.
//   staggered  runs two streams over every token, both restarted every K steps, half a period
//              apart, and answers with the older: constant time, contexts between K/2 + 1 and K
//              steps (before step K/2 the episode so far).
enum class DecodeMode { kWindow, kRecurrent, kStaggered };

inline constexpr DecodeMode kAllDecodeModes[] = {DecodeMode::kWindow, DecodeMode::kRecurrent,
                                                 DecodeMode::kStaggered};
std::string DecodeModeName(DecodeMode mode);

// Throws std::invalid_argument for another name.
DecodeMode ParseDecodeMode(const std::string& name);

// A batch of episodes in lock step: all rows are at the same step. A row's actions do not depend on
// the other rows, on their number, or on the number of threads.
class Decoder {
 public:
  virtual ~Decoder() = default;

  // The next step of every row: returns_to_go [rows], scaled; observations [rows,
  // observation_size], normalised. Writes outputs [rows, action_features]: actions in (-1, 1), or
  // logits of discrete ones. Throws std::invalid_argument for other sizes.
  virtual void Decide(std::span<const float> returns_to_go, std::span<const float> observations,
                      std::span<float> outputs) = 0;

  // What the rows did, [rows, action_size]: follows each Decide. Throws std::invalid_argument for
  // another size; on the CPU also for an index that is no action.
  virtual void Act(std::span<const float> actions) = 0;

  // Continues with these rows alone, an ascending list of indices.
  virtual void Keep(std::span<const int> rows) = 0;
};

}  // namespace cosdt::agents
