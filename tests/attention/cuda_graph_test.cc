// The CUDA kernels without LibTorch: recorded in a CUDA graph and replayed on other numbers.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "attention/cuda_kernels.h"

namespace cosdt::attention::kernels {
namespace {

void Check(cudaError_t error) { ASSERT_EQ(error, cudaSuccess) << cudaGetErrorString(error); }

// Managed memory would be simpler; plain memory is what the kernels are used with.
float* Upload(const std::vector<float>& numbers) {
  void* device = nullptr;
  const size_t bytes = numbers.size() * sizeof(float);
  Check(cudaMalloc(&device, bytes));
  Check(cudaMemcpy(device, numbers.data(), bytes, cudaMemcpyHostToDevice));
  return static_cast<float*>(device);
}

TEST(CudaGraphTest, ReplaysBothPasses_CUDA) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    GTEST_SKIP() << "needs a CUDA device, of which none is here";
  }
  for (const int64_t length : {60, 2000}) {
    const size_t size = static_cast<size_t>(2 * length * 64);
    std::vector<float> numbers(size);
    for (size_t i = 0; i < size; ++i) numbers[i] = static_cast<float>(i * 7919 % 1000) / 1000;
    Problem problem;
    problem.heads = 2;
    problem.length = length;
    problem.width = problem.value_width = 64;
    problem.reweight_length = 2 * length;
    const auto array = [&](float* data) {
      return Array{data, 0, static_cast<ptrdiff_t>(length * 64), 64};
    };
    float* const input = Upload(numbers);
    problem.q = problem.k = problem.v = problem.grad_out = array(input);
    std::vector<float*> outputs;
    for (Array* x : {&problem.out, &problem.grad_q, &problem.grad_k, &problem.grad_v}) {
      outputs.push_back(Upload(std::vector<float>(size)));
      *x = array(outputs.back());
    }
    problem.normalizer = Upload(std::vector<float>(static_cast<size_t>(2 * length)));
    void* workspace = nullptr;
    Check(cudaMalloc(&workspace, std::max(CudaWorkspaceSize(problem, Pass::kForward),
                                          CudaWorkspaceSize(problem, Pass::kBackward))));
    cudaStream_t stream = nullptr;
    Check(cudaStreamCreate(&stream));
    const auto launch = [&] {
      for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
        RunOnCuda(problem, pass, workspace, stream);
      }
    };
    const auto results = [&] {
      Check(cudaStreamSynchronize(stream));
      std::vector<std::vector<float>> all;
      for (float* output : outputs) {
        all.emplace_back(size);
        Check(cudaMemcpy(all.back().data(), output, size * sizeof(float), cudaMemcpyDeviceToHost));
      }
      return all;
    };
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    Check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    launch();
    Check(cudaStreamEndCapture(stream, &graph));
    Check(cudaGraphInstantiate(&executable, graph, 0));
    for (float& number : numbers) number = 1 - number;
    Check(cudaMemcpy(input, numbers.data(), size * sizeof(float), cudaMemcpyHostToDevice));
    Check(cudaGraphLaunch(executable, stream));
    const auto replayed = results();
    launch();
    EXPECT_EQ(replayed, results());
    EXPECT_NE(replayed[0], std::vector<float>(size));
    Check(cudaGraphExecDestroy(executable));
    Check(cudaGraphDestroy(graph));
    Check(cudaStreamDestroy(stream));
    outputs.push_back(input);
    outputs.push_back(static_cast<float*>(problem.normalizer));
    for (float* memory : outputs) Check(cudaFree(memory));
    Check(cudaFree(workspace));
  }
}

}  // namespace
}  // namespace cosdt::attention::kernels
