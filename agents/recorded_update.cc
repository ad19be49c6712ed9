#include "agents/recorded_update.h"

#ifdef COSDT_USE_CUDA
#include <ATen/cuda/CUDAGeneratorImpl.h>  // which the next one needs
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "agents/layers.h"

namespace cosdt::agents {

using torch::Tensor;

#ifdef COSDT_USE_CUDA
struct RecordedUpdate::Recording {
  // a stream of its own: CUDA does not record the default one
  c10::cuda::CUDAStream stream;
  at::cuda::CUDAGraph graph;
  int runs = 0;
};
#else
struct RecordedUpdate::Recording {};
#endif

RecordedUpdate::RecordedUpdate(Agent& agent, AdamW& optimizer, DeviceWindows data,
                               int64_t batch_size, double clip)
    : agent_(agent), optimizer_(optimizer), data_(std::move(data)), clip_(clip) {
  const auto on_device = torch::TensorOptions(agent.device());
  windows_ = torch::zeros({batch_size, 3}, on_device.dtype(torch::kInt64));
  dropout_keys_ = torch::zeros({agent.dropout_layers()}, on_device.dtype(torch::kInt64));
  scalars_ = torch::zeros({AdamW::kScalars}, on_device.dtype(torch::kFloat64));
  results_ = torch::zeros({2}, on_device);
#ifdef COSDT_USE_CUDA
  if (agent.device().is_cuda()) {
    recording_ = std::make_unique<Recording>(
        Recording{c10::cuda::getStreamFromPool(false, agent.device().index()), {}, 0});
  }
#endif
}

RecordedUpdate::~RecordedUpdate() = default;

void RecordedUpdate::Compute() {
  const Batch batch = data_.Gather(windows_);
  agent_.set_dropout_keys(dropout_keys_);
  optimizer_.ZeroGradients();
  const Tensor loss = ActionLoss(agent_.Predict(batch), batch.actions, batch.mask);
  loss.backward();
  const torch::NoGradGuard no_grad;
  const Tensor norm = optimizer_.GradientNorm();
  torch::stack_out(results_, {loss.detach(), norm});
  const Tensor one = torch::ones_like(norm);
  const Tensor scale = clip_ > 0 ? torch::where(norm > clip_, clip_ / (norm + 1e-6), one) : one;
  optimizer_.Step(scalars_, scale, results_.isfinite().all());
}

RecordedUpdate::Result RecordedUpdate::Run(std::span<const datasets::Window> windows,
                                           uint64_t dropout_key, double learning_rate) {
  std::vector<int64_t> keys(static_cast<size_t>(dropout_keys_.numel()));
  for (size_t i = 0; i < keys.size(); ++i) {
    keys[i] = static_cast<int64_t>(Dropout{0, dropout_key}.For(i).key);
  }
  const auto compute = [&] {
    windows_.copy_(data_.Describe(windows));
    dropout_keys_.copy_(torch::tensor(keys, torch::kInt64));
    scalars_.copy_(optimizer_.NextScalars(learning_rate));
#ifdef COSDT_USE_CUDA
    if (recording_) {
      constexpr int kUnrecorded = 3;
      if (recording_->runs == kUnrecorded) {
        recording_->graph.capture_begin();
        Compute();
        recording_->graph.capture_end();
      }
      if (recording_->runs++ >= kUnrecorded) return recording_->graph.replay();
    }
#endif
    Compute();
  };
#ifdef COSDT_USE_CUDA
  std::optional<c10::cuda::CUDAStreamGuard> guard;
  if (recording_) {
    // weights and data came on the default stream
    if (recording_->runs == 0) c10::cuda::device_synchronize();
    guard.emplace(recording_->stream);
  }
#endif
  compute();
  const Tensor results = results_.cpu();
  const Result result = {results[0].item<double>(), results[1].item<double>()};
  if (std::isfinite(result.loss) && std::isfinite(result.gradient_norm)) optimizer_.CountStep();
  return result;
}

}  // namespace cosdt::agents
