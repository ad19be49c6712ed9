// How an agent decides while episodes run: what of the past a decision reads, and how it is kept.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "agents/models/agent.h"
#include "envs/thread_pool.h"

namespace cosdt::agents {

// With K, the agent's context in steps:
//   window     computes the last K steps again at every step, as in training. What published
//              figures come from.
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
  // observation_size], normalised. Writes actions [rows, action_size], in (-1, 1), and remembers
  // them as done. Throws std::invalid_argument for other sizes.
  virtual void Decide(std::span<const float> returns_to_go, std::span<const float> observations,
                      std::span<float> actions) = 0;

  // Goes on with these rows alone, an ascending list of indices.
  virtual void Keep(std::span<const int> rows) = 0;
};

// Makes decoders for an agent; what they share, such as packed weights, is made once. Decides on
// the device that the agent's weights are on. On the CPU cosformer, linear and softmax have kernels
// of their own (cpu_model.h); the other kinds, behaviour cloning and all agents on a GPU are
// decoded in LibTorch's operations.
class DecoderFactory {
 public:
  // `horizon` is the longest episode in steps. Throws std::invalid_argument where the agent cannot
  // be decoded so: recurrent needs cosFormer's reweight_length to be above 3 horizon, staggered an
  // even context. Behaviour cloning remembers nothing and takes any mode.
  // `compute_type`, float32 or bfloat16, is that of the blocks' matrix products; all else is in
  // float32. bfloat16 takes the CPU and a kind with kernels of its own. It is faster where
  // kernels::ProcessorHasBFloat16, slower elsewhere; results differ in last bits between them.
  DecoderFactory(const Agent& agent, DecodeMode mode, int horizon,
                 torch::ScalarType compute_type = torch::kFloat32);
  ~DecoderFactory();

  // At the beginning of `rows` episodes. Factory and pool must outlive the decoder.
  std::unique_ptr<Decoder> Make(int rows, envs::ThreadPool& pool) const;

  // How many episodes are best played side by side on so many threads. More share the reading of
  // the weights, which a dozen of a thread's rows pays for; beyond that, what the rows remember and
  // their simulations leave the cache, and steps take up to half as long again.
  int RowsAtOnce(int threads) const;

 private:
  struct Parts;
  std::unique_ptr<const Parts> parts_;
};

}  // namespace cosdt::agents
