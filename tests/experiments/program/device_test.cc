#include "experiments/program/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "experiments/program/cuda_runtime.h"
#include "tests/program.h"

namespace cosdt::experiments {
namespace {

using testing::HasSubstr;

// Another CUDA than this build's, for as long as it lives.
class FakeCuda {
 public:
  explicit FakeCuda(CudaRuntime fake) { std::swap(TheCudaRuntime(), fake_ = std::move(fake)); }
  ~FakeCuda() { std::swap(TheCudaRuntime(), fake_); }

 private:
  CudaRuntime fake_;
};

CudaRuntime TwoCards(int capability) {
  return {.toolkit = "13.0",
          .problem = [] { return ""; },
          .device_count = [] { return 2; },
          .compute_capability = [capability](int) { return capability; },
          .name = [](int) { return "Tesla V100"; },
          .record = {}};
}

std::string Refusal(const std::string& name, int local_rank = 0) {
  try {
    return "not refused: " + ResolveDevice(name, local_rank).str();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
}

TEST(DeviceTest, TheCpuNeedsNothing) {
  EXPECT_EQ(ResolveDevice("cpu"), c10::Device(c10::kCPU));
  EXPECT_EQ(nlohmann::json(UseOf(c10::kCPU)),
            (nlohmann::json{{"device", "cpu"}, {"peak_device_memory", nullptr}}));
}

TEST(DeviceTest, RefusalsNameWhatWasExpected) {
  EXPECT_EQ(Refusal("gpu"), "device gpu: expected cpu, cuda, cuda:N or auto, found gpu");
  for (const char* name :
       {"cuda:", "cuda:-1", "cuda:1x", "cuda:99999999999", "CUDA", "cuda0", ""}) {
    EXPECT_THAT(Refusal(name), HasSubstr("expected cpu, cuda, cuda:N or auto")) << name;
  }
  {
    const FakeCuda none{{}};
    EXPECT_EQ(Refusal("cuda"),
              "device cuda: expected a build with CUDA (configured with COSDT_CUDA=ON), found one "
              "without");
    EXPECT_EQ(ResolveDevice("auto"), c10::Device(c10::kCPU));
  }
  {
    CudaRuntime old_driver = TwoCards(90);
    old_driver.problem = [] { return "the driver knows CUDA up to 12.4"; };
    const FakeCuda cuda(old_driver);
    EXPECT_EQ(Refusal("cuda:1"),
              "device cuda:1: expected a GPU that can be used, found none: the driver knows CUDA "
              "up to 12.4");
    EXPECT_EQ(ResolveDevice("auto"), c10::Device(c10::kCPU));
  }
  {
    const FakeCuda cuda(TwoCards(70));
    EXPECT_EQ(Refusal("cuda:2"), "device cuda:2: expected cuda:0 to cuda:1, found cuda:2");
    EXPECT_THAT(Refusal("cuda", 1), HasSubstr("device cuda: expected compute"));
    EXPECT_EQ(Refusal("cuda"),
              "device cuda: expected compute capability 8.0 or more, found 7.0 (Tesla V100)");
  }
}

TEST(DeviceTest, EachProcessOfAHostTakesItsOwn) {
  CudaRuntime cards = TwoCards(90);
  const FakeCuda cuda(cards);
  for (const char* name : {"cuda", "auto"}) {
    EXPECT_EQ(Refusal(name, 2), "device cuda:2: expected cuda:0 to cuda:1, found cuda:2");
  }
  EXPECT_EQ(ResolveDevice("cpu", 1), c10::Device(c10::kCPU));
  cards.device_count = [] { return 1; };  // a launcher shows each process one card
  const FakeCuda one(cards);
  EXPECT_EQ(Refusal("cuda:1", 1), "device cuda:1: expected cuda:0, the only GPU, found cuda:1");
}

TEST(DeviceTest, LackOfMemoryIsOneLine) {
  EXPECT_EQ(OneLine("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of "
                    "79.11 GiB of which 1.20 GiB is free. Process 71 has 77.90 GiB memory in use. "
                    "Of the allocated memory 70.00 GiB is allocated by PyTorch, and 2.00 GiB is "
                    "reserved by PyTorch but unallocated. See documentation"),
            "out of memory on the GPU: expected 2.00 GiB more, found 1.20 GiB of 79.11 GiB free; a "
            "smaller --batch-size or --context takes less, as does another process's end");
  EXPECT_EQ(OneLine("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
            "out of memory on the GPU; a smaller --batch-size or --context takes less, as does "
            "another process's end");
  EXPECT_EQ(OneLine("CUDA error: an illegal memory access was encountered\nSearch for it"),
            "CUDA error: an illegal memory access was encountered");
}

TEST(DeviceTest, EveryCommandRefusesAlike) {
  const std::string reason = Refusal("cuda");
  if (reason.starts_with("not refused")) GTEST_SKIP() << "a GPU is there";
  for (const char* command : {"train --dataset x --out x", "eval x", "bench attention",
                              "bench train", "compare --datasets demo/hopper-medium --out x"}) {
    const ProgramResult result = RunProgram(std::string(command) + " --device cuda 2>&1");
    EXPECT_EQ(result.exit_code, 1) << command;
    EXPECT_EQ(result.output, "cosdt: error: " + reason + "\n") << command;
    EXPECT_EQ(RunProgram(std::string(command) + " --device gpu 2>/dev/null").exit_code, 2)
        << command;
  }
}

}  // namespace
}  // namespace cosdt::experiments
