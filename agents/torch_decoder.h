// A decoder in LibTorch's operations, for any attention kind and for behaviour cloning.
#pragma once

#include <memory>
#include <vector>

#include "agents/agent.h"
#include "agents/decoder.h"

namespace cosdt::agents {

class TorchBlock;

class TorchDecoder : public Decoder {
 public:
  TorchDecoder(const Agent& agent, DecodeMode mode, int rows);
  ~TorchDecoder() override;
  void Decide(std::span<const float> returns_to_go, std::span<const float> observations,
              std::span<float> actions) override;
  void Keep(std::span<const int> rows) override;

 private:
  int64_t observation_size_, action_size_;
  std::vector<std::unique_ptr<TorchBlock>> blocks_;
  std::vector<int64_t> slots_;  // of each row: its block and place there
  torch::Tensor returns_to_go_,
      observations_;  // of a block; slots that nobody has keep old numbers
};

}  // namespace cosdt::agents
