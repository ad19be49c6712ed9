// MakeTimedLaunches on a GPU. Compiled in builds with CUDA alone.
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGeneratorImpl.h>  // which the next one needs
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>

#include <utility>

#include "experiments/program/cuda_runtime.h"

namespace cosdt::experiments {
namespace {

class GraphLaunches : public TimedLaunches {
 public:
  GraphLaunches(const c10::Device& device, int count, const std::function<void(int)>& work)
      : count_(count), stream_(c10::cuda::getStreamFromPool(false, device.index())) {
    const c10::cuda::CUDAGuard on_device(device);
    c10::cuda::device_synchronize();  // inputs came on another stream
    const c10::cuda::CUDAStreamGuard guard(stream_);
    const auto launch = [&] {
      for (int i = 0; i < count_; ++i) work(i);
    };
    launch();
    stream_.synchronize();
    graph_.capture_begin();
    try {
      launch();
    } catch (...) {
      End();
      throw;
    }
    graph_.capture_end();
    graph_.replay();  // the first one uploads the graph
    stream_.synchronize();
  }

  double Seconds() override {
    const c10::cuda::CUDAStreamGuard guard(stream_);
    start_.record(stream_);
    graph_.replay();
    end_.record(stream_);
    end_.synchronize();
    return static_cast<double>(start_.elapsed_time(end_)) / 1e3 / count_;
  }

 private:
  // Leaves the recording; why it failed is known already.
  void End() noexcept {
    try {
      graph_.capture_end();
    } catch (...) {
    }
  }

  int count_;
  c10::cuda::CUDAStream stream_;
  at::cuda::CUDAGraph graph_;
  at::cuda::CUDAEvent start_{cudaEventDefault}, end_{cudaEventDefault};
};

const bool registered = [] {
  TheCudaRuntime().record = [](const c10::Device& device, int count,
                               const std::function<void(int)>& work) {
    return std::make_unique<GraphLaunches>(device, count, work);
  };
  return true;
}();

}  // namespace
}  // namespace cosdt::experiments
