// Which decoder computes an agent's decisions.
#pragma once

#include <torch/torch.h>

#include <memory>

#include "agents/decoding/decoder.h"
#include "agents/models/agent.h"
#include "envs/thread_pool.h"

namespace cosdt::agents {

// Throws std::invalid_argument if the agent cannot be decoded with products of this type: float32,
// or bfloat16 on the CPU for kinds with kernels of their own.
void CheckComputeType(const Agent& agent, torch::ScalarType type);

// Makes decoders for an agent; what they share, such as packed weights, is made once. Decides on
// the device that the agent's weights are on. On the CPU Decision Transformers with cosformer,
// linear and softmax attention have kernels of their own (cpu_model.h); all else is decoded in
// LibTorch's operations.
class DecoderFactory {
 public:
  // `horizon` is the longest episode in steps. Throws std::invalid_argument if the agent cannot be
  // decoded so: recurrent needs cosFormer's reweight_length to be above the tokens of
  // `horizon` steps, staggered an
  // even context. An agent with a context of one step takes any mode.
  // `compute_type`, float32 or bfloat16, is that of the blocks' matrix products; all else is in
  // float32. bfloat16 needs a CPU with it (kernels::ProcessorHasBFloat16) and an agent that
  // CheckComputeType takes.
  DecoderFactory(std::shared_ptr<Agent> agent, DecodeMode mode, int horizon,
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
