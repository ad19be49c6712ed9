#include "agents/training/update_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/library.h>

#include <string>
#include <utility>

namespace cosdt::agents {
namespace {

TEST(UpdateCheckTest, TheCpuAgreesWithItself) { EXPECT_EQ(CheckUpdateOps(torch::kCPU), ""); }

// Takes a schema's arguments and does nothing.
void DoNothing(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  torch::jit::drop(*stack, op.schema().arguments().size());
}

TEST(UpdateCheckTest, NamesTheOperationThatIsWrong) {
  const auto expected = RunUpdateOps(torch::kCPU);
  for (const auto& [op, name] : {std::pair{"embed_forward", "embedding"},
                                 {"embed_backward", "embedding, backward"},
                                 {"embed_gradients", "embedding, gradients"},
                                 {"add_norm_forward", "LayerNorm"},
                                 {"normalize", "LayerNorm again"},
                                 {"add_norm_backward", "LayerNorm, backward"},
                                 {"drop_rows", "dropout"},
                                 {"column_sums", "column sums"},
                                 {"weight_gradient", "weight gradient"},
                                 {"head_loss", "head"},
                                 {"sum_parts", "AdamW"},
                                 {"squares", "AdamW"},
                                 {"adamw_step", "AdamW"}}) {
    torch::Library library(torch::Library::IMPL, "cosdt", c10::DispatchKey::CPU, __FILE__,
                           __LINE__);
    library.impl(op, torch::CppFunction::makeFromBoxedFunction<DoNothing>());
    EXPECT_THAT(CompareUpdateOps(RunUpdateOps(torch::kCPU), expected),
                testing::StartsWith(std::string(name) + ", fp32, width 33, result "))
        << op;
  }
}

TEST(UpdateCheckTest, KernelsAgreeWithTheCpu_CUDA) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "needs a CUDA device, of which none is here";
  at::globalContext().setFloat32MatmulPrecision("highest");
  EXPECT_EQ(CheckUpdateOps({torch::kCUDA, 0}), "");
}

}  // namespace
}  // namespace cosdt::agents
