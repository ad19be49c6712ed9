// A decoder in LibTorch's operations, for any agent and attention kind, on the device that the
// agent's weights are on.
#pragma once

#include <memory>
#include <vector>

#include "agents/decoding/decoder.h"
#include "agents/models/agent.h"

namespace cosdt::agents {

class TorchBlock;

class TorchDecoder : public Decoder {
 public:
  // How many rows are best decided at once: on a GPU they take as long as one does.
  static constexpr int kMaxRows = 256;

  TorchDecoder(const std::shared_ptr<Agent>& agent, DecodeMode mode, int rows);
  ~TorchDecoder() override;
  void Decide(std::span<const float> returns_to_go, std::span<const float> observations,
              std::span<float> outputs) override;
  void Act(std::span<const float> actions) override;
  void Keep(std::span<const int> rows) override;

 private:
  template <class Body>
  void ForBlocks(const Body& body);
  void Place(std::span<const float> from, int64_t size, size_t begin, size_t end,
             const torch::Tensor& to) const;

  torch::Device device_;
  // The bits of a row of a matrix product depend on the number of rows: with blocks of a fixed size
  // an action does not depend on how many episodes still run.
  int64_t block_rows_;
  int64_t observation_size_, action_size_, action_features_;
  std::vector<std::unique_ptr<TorchBlock>> blocks_;
  std::vector<int64_t> slots_;  // of each row: its block and place there
  // A block's inputs; places that no row has keep old values.
  torch::Tensor returns_to_go_, observations_, actions_;
};

}  // namespace cosdt::agents
