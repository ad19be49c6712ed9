// Recordings on CUDA. Compiled in CUDA builds alone.
#include <ATen/cuda/CUDAGeneratorImpl.h>  // needed by the next header
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_profiler_api.h>
#include <torch/torch.h>

#include <cstdio>
#include <exception>
#include <map>
#include <string>

#include "agents/training/update_recorder.h"

namespace cosdt::agents {
namespace {

// Libraries allocate what they need and choose their kernels before anything is recorded.
constexpr int kUnrecorded = 3;

class CudaRecorder : public UpdateRecorder {
 public:
  explicit CudaRecorder(const torch::Device& device)
      : device_(device),
        stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index())) {}

  ~CudaRecorder() override {
    // a graph must not go while it runs, nor its stream's work outlive the arrays
    try {
      stream_.synchronize();
    } catch (const std::exception&) {
      // errors of earlier failures
    }
  }

  void InOrder(const std::function<void()>& work) override {
    const c10::cuda::CUDAGuard device(device_);
    // weights and data come on the default stream
    c10::cuda::getDefaultCUDAStream(device_.index()).synchronize();
    const c10::cuda::CUDAStreamGuard stream(stream_);
    work();
  }

  void Run(int number, const std::function<void()>& update) override {
    Recording& recording = recordings_[number];
    if (recording.runs < kUnrecorded) {
      update();
    } else {
      if (recording.runs == kUnrecorded) {
        Record(update, recording.graph);
        cudaProfilerStart();  // for profilers that were told to wait for it (tests/gpu/check.sh)
      }
      recording.graph.replay();
    }
    ++recording.runs;
  }

 private:
  struct Recording {
    at::cuda::CUDAGraph graph;
    int runs = 0;
  };

  void Record(const std::function<void()>& update, at::cuda::CUDAGraph& graph) {
    stream_.synchronize();
    // the recording has its own memory pool: memory cached by unrecorded runs is freed first
    c10::cuda::CUDACachingAllocator::emptyCache();
    // threads of NCCL's group may ask for their events meanwhile
    graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
    try {
      update();
    } catch (const std::exception& e) {
      const std::exception_ptr error = std::current_exception();
      try {
        graph.capture_end();
      } catch (const std::exception&) {
        // fails because the recording is invalid
      }
      graph.reset();
      const std::string text = e.what();  // of LibTorch with a backtrace, from the second line on
      std::fprintf(stderr, "cosdt: training: the recording of an update ended: %s\n",
                   text.substr(0, text.find('\n')).c_str());
      std::rethrow_exception(error);
    }
    graph.capture_end();
  }

  torch::Device device_;
  c10::cuda::CUDAStream stream_;
  std::map<int, Recording> recordings_;
};

std::unique_ptr<UpdateRecorder> Make(const torch::Device& device) {
  return std::make_unique<CudaRecorder>(device);
}

const bool registered = SetCudaRecorderFactory(Make);

}  // namespace
}  // namespace cosdt::agents
