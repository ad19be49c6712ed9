#include "agents/training/update_recorder.h"

#include <gtest/gtest.h>

namespace cosdt::agents {
namespace {

TEST(UpdateRecorderTest, AnErrorEndsTheRecordingAndTheNextRunRecordsAgain_CUDA) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "needs a CUDA device, found none";
  const torch::Device device(torch::kCUDA, 0);
  const auto recorder = MakeUpdateRecorder(device);
  torch::Tensor x = torch::zeros({4}, device);
  bool fails = false;
  const auto update = [&] {
    x.add_(1);
    TORCH_CHECK(!fails, "planted");
  };
  recorder->InOrder([&] {
    for (int i = 0; i < 3; ++i) recorder->Run(0, update);  // unrecorded
    fails = true;
    EXPECT_THROW(recorder->Run(0, update), c10::Error);
    fails = false;
    for (int i = 0; i < 4; ++i) recorder->Run(0, update);
    EXPECT_EQ(x.min().item<float>(), 7);
    EXPECT_EQ(x.max().item<float>(), 7);
  });
}

}  // namespace
}  // namespace cosdt::agents
