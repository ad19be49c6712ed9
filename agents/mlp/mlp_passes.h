#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "agents/kernels/gemm.h"
#include "agents/mlp/mlp_stack.h"
#include "attention/parallel.h"

namespace cosdt::agents {

// Passes of a batch through the networks of actor-critic agents, shared by LibTorch's threads.
// Blocks of rows go through all layers in memory that stays in the cache. Every sum has one order:
// the bits do not depend on the number of threads.
class MlpPasses {
 public:
  // A thread's memory.
  struct Lane {
    std::array<kernels::Floats, 2> hidden;  // of two critics, or one network
    kernels::Floats scratch, values;
    std::vector<int64_t> chosen;
  };

  // Must be called before an update on `rows` rows.
  void Begin(int64_t rows);

  // Calls body(first row, rows, lane) for all blocks of the batch.
  template <class Body>
  void ForBlocks(const Body& body);

  // to[row] = the smallest output of all members, which have one each. A NaN is the smallest.
  void SmallestOutputs(const MlpStack& stack, kernels::Rows inputs, float* to);

  // The two critics' gradients of inputs [begin, begin + count) if each output's is
  // `output_gradient`: through the smaller output of each row, or the first member alone. `values`:
  // that output.
  enum class Through { kSmaller, kFirst };
  void InputGradients(const MlpStack& critics, Through through, kernels::Rows inputs,
                      float output_gradient, int64_t begin, int64_t count, float* values,
                      kernels::Rows to);

  // Writes the gradients of all members' parameters. loss(member, first row, rows, outputs) puts
  // the loss's gradients in the place of the outputs [rows, stack.outputs()]; it is called for the
  // rows of a member in their order.
  template <class Loss>
  void Fit(MlpStack& stack, kernels::Rows inputs, const Loss& loss);

 private:
  // Rows whose hidden values stay in the cache with the weights, at most: whole tiles of the
  // products. Fit keeps them for the way back.
  static constexpr int64_t kBlock = 132, kTileHeight = 12, kFitBlock = 256;

  template <class Body>
  void ForLanes(int64_t count, const Body& body);

  int64_t rows_ = 0;
  std::vector<Lane> lanes_;
};

// Calls body(i, lane) for i in [0, count), each thread on a part of its own.
template <class Body>
void MlpPasses::ForLanes(int64_t count, const Body& body) {
  const auto lanes = static_cast<int64_t>(lanes_.size());
  at::parallel_for(0, lanes, 1, [&](int64_t begin, int64_t end) {
    for (int64_t lane = begin; lane < end; ++lane) {
      for (int64_t i = lane * count / lanes; i < (lane + 1) * count / lanes; ++i) {
        body(i, lanes_[static_cast<size_t>(lane)]);
      }
    }
  });
}

template <class Body>
void MlpPasses::ForBlocks(const Body& body) {
  const auto lanes = static_cast<int64_t>(lanes_.size());
  const int64_t even = (rows_ + lanes * kTileHeight - 1) / (lanes * kTileHeight) * kTileHeight;
  const int64_t block = std::min(kBlock, even);
  ForLanes((rows_ + block - 1) / block, [&](int64_t i, Lane& lane) {
    body(i * block, std::min(block, rows_ - i * block), lane);
  });
}

template <class Loss>
void MlpPasses::Fit(MlpStack& stack, kernels::Rows inputs, const Loss& loss) {
  ForLanes(stack.members(), [&](int64_t member, Lane& lane) {
    stack.ZeroGradients(member);
    for (int64_t begin = 0; begin < rows_; begin += kFitBlock) {
      const int64_t count = std::min(kFitBlock, rows_ - begin);
      lane.values.Require(count * stack.outputs());
      const MlpStack::Hidden hidden = stack.HiddenIn(lane.hidden[0], count);
      const kernels::Rows from = {inputs.data + begin * inputs.stride, inputs.stride};
      const kernels::Rows outputs = {lane.values.data(), stack.outputs()};
      stack.Forward(member, from, count, hidden, outputs);
      loss(member, begin, count, outputs);
      stack.AddGradients(member, from, count, hidden, outputs);
    }
  });
}

}  // namespace cosdt::agents
