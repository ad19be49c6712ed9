// Kernels with planted faults, run by the emulator: each is found by the check before
// their use, and attention continues with right values.
#include "attention/self_check.h"

#include <gtest/gtest.h>

#include "attention/cuda_pass.cuh"
#include "attention/linear_op.h"
#include "tests/attention/harness.h"
#include "tests/attention/run_grid.h"

namespace cosdt::attention {
namespace {

using kernels::Pass;
using kernels::Problem;

// Wrong in one way each: a kernel that does not do what it says, or is launched with something
// else.
enum class Fault {
  kNone,
  kWrongSine,           // the cosine of a phase stands for its sine
  kStaleBuffer,         // tiles are read before they were copied
  kWrongBorder,         // the last row of a tile counts as missing
  kLostSegment,         // one segment's state is never added up
  kLostShuffle,         // lanes keep their own value in place of a neighbour's
  kTruncatedProducts,   // the last column of a product is lost
  kLateTranspose,       // ldmatrix forgets to transpose
  kIgnoredPadding,      // the mask is not looked at
  kWrongFeatures,       // ReLU in place of ELU + 1 and the other way round
  kSwappedGradients,    // of k and v
  kUnscaledWeights,     // M is half of what it should be
  kUnwrittenNormalizer  // D is never written
};

void RunEmulated(const Problem& original, Pass pass, Fault fault) {
  using namespace kernels::cuda;
  Problem problem = original;
  std::vector<float> scratch(static_cast<size_t>(problem.batch * problem.heads * problem.length));
  if (fault == Fault::kIgnoredPadding) problem.mask = nullptr;
  if (fault == Fault::kWrongFeatures) {
    problem.features = problem.features == kernels::Features::kRelu ? kernels::Features::kEluPlusOne
                                                                    : kernels::Features::kRelu;
  }
  if (fault == Fault::kSwappedGradients) std::swap(problem.grad_k, problem.grad_v);
  if (fault == Fault::kUnscaledWeights) problem.reweight_length /= 2;
  if (fault == Fault::kUnwrittenNormalizer && pass == Pass::kForward) {
    problem.normalizer = scratch.data();
  }
  host::Faults faults;
  faults.wrong_sine = fault == Fault::kWrongSine;
  faults.skip_copies = fault == Fault::kStaleBuffer;
  faults.short_copies = fault == Fault::kWrongBorder;
  faults.skip_shuffles = fault == Fault::kLostShuffle;
  faults.narrow_products = fault == Fault::kTruncatedProducts;
  faults.skip_transpose = fault == Fault::kLateTranspose;
  const host::PlantedFaults planted(faults);
  const Cut cut = MakeCut(problem, pass);
  std::vector<float> workspace(static_cast<size_t>(WorkspaceSize(problem, pass, cut)));
  int launches = 0;
  RunPass(problem, pass, cut, workspace.data(), [&](const auto& kernel, const Grid& grid) {
    const bool adds_up = pass == Pass::kForward && ++launches == 1 && cut.segments > 1;
    host::RunGrid(kernel, grid, host::Order::kUp, [&](const Grid& block) {
      return fault == Fault::kLostSegment && adds_up && block.x == 0;
    });
  });
}

std::string Check(Fault fault) {
  return CheckKernels(
      torch::kCPU, [](const Problem&) { return true; },
      [&](const Problem& problem, Pass pass) { RunEmulated(problem, pass, fault); });
}

TEST(SelfCheckTest, SlowPassesKernelsThatAreRight) { EXPECT_EQ(Check(Fault::kNone), ""); }

TEST(SelfCheckTest, FindsEveryPlantedFault) {
  for (int fault = 1; fault <= static_cast<int>(Fault::kUnwrittenNormalizer); ++fault) {
    const std::string found = Check(static_cast<Fault>(fault));
    EXPECT_NE(found.find("differs by"), std::string::npos) << "fault " << fault << ": " << found;
  }
}

bool FaultyKernels(const torch::Tensor&, int64_t, const LinearForm&) {
  static const bool passed = Check(Fault::kWrongSine).empty();
  return passed;
}

TEST(SelfCheckTest, AttentionContinuesWithRightValuesIfKernelsAreWrong) {
  const KernelCheck before = SetKernelCheck(torch::kCPU, FaultyKernels);
  EXPECT_EQ(CausalLinearPath(torch::kCPU), "composition");
  for (const int64_t length : {60, 600}) {
    const Case c{CaseOptions("cosformer", length), 2, 2, length, 32, 32};
    ExpectMatchesReference(c, MakeExample(c, torch::kFloat32, true), Tolerance(torch::kFloat32));
  }
  SetKernelCheck(torch::kCPU, before);
  EXPECT_EQ(CausalLinearPath(torch::kCPU), "kernels");
}

}  // namespace
}  // namespace cosdt::attention
