#include "agents/mlp/mlp_passes.h"

#include <cmath>

namespace cosdt::agents {
namespace {

// A NaN counts as smaller.
float SmallerOutput(float a, float b) { return a <= b || std::isnan(a) ? a : b; }

kernels::Rows From(kernels::Rows rows, int64_t row) {
  return {rows.data + row * rows.stride, rows.stride};
}

}  // namespace

void MlpPasses::Begin(int64_t rows) {
  rows_ = rows;
  lanes_.resize(static_cast<size_t>(at::get_num_threads()));
  for (Lane& lane : lanes_) lane.values.Require(2 * rows);
}

void MlpPasses::SmallestOutputs(const MlpStack& stack, kernels::Rows inputs, float* to) {
  ForBlocks([&](int64_t begin, int64_t count, Lane& lane) {
    const MlpStack::Hidden hidden = stack.HiddenIn(lane.hidden[0], count);
    float* const values = lane.values.data();
    for (int64_t member = 0; member < stack.members(); ++member) {
      stack.Forward(member, From(inputs, begin), count, hidden, {values, 1});
      for (int64_t i = 0; i < count; ++i) {
        to[begin + i] = member == 0 ? values[i] : SmallerOutput(to[begin + i], values[i]);
      }
    }
  });
}

void MlpPasses::InputGradients(const MlpStack& critics, Through through, kernels::Rows inputs,
                               float output_gradient, int64_t begin, int64_t count, float* values,
                               kernels::Rows to) {
  const bool both = through == Through::kSmaller;
  ForBlocks([&](int64_t first, int64_t rows, Lane& lane) {
    float* const outputs = lane.values.data();
    for (size_t member = 0; member < (both ? 2 : 1); ++member) {
      critics.Forward(static_cast<int64_t>(member), From(inputs, first), rows,
                      critics.HiddenIn(lane.hidden[member], rows), {outputs + member, 2});
    }
    for (size_t member = 0; member < (both ? 2 : 1); ++member) {
      lane.chosen.clear();
      for (int64_t i = 0; i < rows; ++i) {
        const bool first_is_smaller = !both || outputs[2 * i] <= outputs[2 * i + 1];
        if (first_is_smaller == (member == 0)) lane.chosen.push_back(i);
      }
      critics.InputGradients(static_cast<int64_t>(member), lane.chosen,
                             critics.HiddenIn(lane.hidden[member], rows), output_gradient, begin,
                             count, critics.HiddenIn(lane.scratch, rows), From(to, first));
    }
    for (int64_t i = 0; i < rows; ++i) {
      values[first + i] = both ? SmallerOutput(outputs[2 * i], outputs[2 * i + 1]) : outputs[2 * i];
    }
  });
}

}  // namespace cosdt::agents
