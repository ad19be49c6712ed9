#include "tests/attention/cuda_example.h"

#include "tests/attention/run_grid.h"

namespace cosdt::attention::kernels::cuda {

void RunOnHost(const Problem& problem, Pass pass, const Cut& cut, Order order) {
  std::vector<float> workspace(static_cast<size_t>(WorkspaceSize(problem, pass, cut)), kNan);
  RunPass(problem, pass, cut, workspace.data(), [&](const auto& kernel, const Grid& grid) {
    host::RunGrid(kernel, grid, order, [](const Grid&) { return false; });
  });
}

}  // namespace cosdt::attention::kernels::cuda
