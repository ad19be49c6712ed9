#include "agents/training/device_update.h"

#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <bit>
#include <exception>
#include <utility>

#include "agents/models/fused_ops.h"
#include "agents/training/update_inputs.h"
#include "agents/training/update_ops.h"

namespace cosdt::agents {

using torch::Tensor;
namespace in = update_inputs;

namespace {

// The counts in row 0 of the inputs.
int64_t GoodUpdates(const Tensor& notes) {
  const int64_t bad = notes[in::kFirstBad].item<int64_t>();
  return bad == 0 ? notes[in::kDone].item<int64_t>() : bad - 1;
}

// On the CPU, for copies to the device that do not wait.
Tensor Staging(torch::IntArrayRef shape, const torch::Device& device) {
  const auto type = torch::TensorOptions(torch::kInt64);
  if (!device.is_cuda()) return torch::zeros(shape, type);
  // pinned memory is made by way of the current device, which must be no other one
  const c10::DeviceGuard guard(device);
  return torch::zeros(shape, type.pinned_memory(true));
}

}  // namespace

bool DeviceUpdate::Takes(const Agent& agent) {
  const DecisionTransformer model = agent.transformer();
  return !model || TransformerUpdate::Takes(model->options());
}

DeviceUpdate::DeviceUpdate(Agent& agent, AdamW& optimizer, DeviceWindows data, BatchShare& share,
                           double clip, torch::ScalarType type)
    : agent_(agent),
      optimizer_(optimizer),
      data_(std::move(data)),
      share_(share),
      clip_(clip),
      recorder_(MakeUpdateRecorder(optimizer.parameters().device())) {
  const auto on_device = optimizer.parameters().options();
  const std::vector<int64_t> shape = {1 + kMaxAtOnce,
                                      in::Width(share.count(), agent.dropout_layers())};
  staging_ = Staging(shape, on_device.device());
  inputs_ = torch::zeros(shape, on_device.dtype(torch::kInt64));
  results_ = torch::zeros({kMaxAtOnce, 2}, on_device);
  squares_ = torch::zeros({update_ops::kSquares}, on_device);
  if (const DecisionTransformer model = agent.transformer()) {
    transformer_ = std::make_unique<TransformerUpdate>(
        model, optimizer,
        std::vector<Tensor>{data_.returns_to_go(), data_.observations(), data_.actions()},
        share.count(), type, inputs_, results_);
  }
}

void DeviceUpdate::Upload(std::span<const Input> updates) {
  const auto rows = static_cast<int64_t>(updates.size()) + 1;
  int64_t* row = staging_.data_ptr<int64_t>();
  const int64_t width = staging_.size(1), keys = agent_.dropout_layers();
  std::fill_n(row, width, 0);
  int64_t ahead = 0;
  for (const Input& update : updates) {
    row += width;
    const AdamW::Scalars scalars = optimizer_.NextScalars(update.learning_rate, ahead++);
    row[in::kDecay] = std::bit_cast<int64_t>(scalars.decay);
    row[in::kRootCorrection] = std::bit_cast<int64_t>(scalars.root_correction);
    row[in::kRate] = std::bit_cast<int64_t>(scalars.rate);
    row[in::kReal] = 0;
    for (const datasets::Window& window : update.windows) row[in::kReal] += window.length;
    for (int64_t i = 0; i < keys; ++i) {
      Dropout dropout = Dropout{0, update.dropout_key}.For(static_cast<uint64_t>(i));
      dropout.first = share_.first();
      row[in::kKeys + i] = static_cast<int64_t>(dropout.KeyFor(transformer_->DropoutElements(i)));
    }
    data_.Describe(update.windows.subspan(static_cast<size_t>(share_.first()),
                                          static_cast<size_t>(share_.count())),
                   row + in::kKeys + keys);
  }
  inputs_.narrow(0, 0, rows).copy_(staging_.narrow(0, 0, rows), /*non_blocking=*/true);
}

void DeviceUpdate::ComputeWithAutograd() {
  const int64_t windows = 3 * share_.count();
  const Tensor words = inputs_.select(0, 1);
  const Batch batch =
      data_.Gather(words.narrow(0, words.numel() - windows, windows).view({share_.count(), 3}),
                   agent_.options().reads_previous_actions());
  optimizer_.ZeroGradients();
  Tensor loss = ActionLoss(agent_.Predict(batch), batch.actions, batch.mask,
                           agent_.options().discrete_actions());
  if (share_.group()) loss = loss * (batch.mask.sum() / words[in::kReal]);
  loss.backward();
  results_.select(1, 0).index_copy_(0, inputs_.select(0, 0).narrow(0, in::kDone, 1),
                                    loss.detach().view(1));
}

void DeviceUpdate::ComputeGradients() {
  if (transformer_) {
    transformer_->Run();
  } else {
    ComputeWithAutograd();
  }
}

// Of the i-th update; its loss, too.
void DeviceUpdate::SumOverProcesses(int64_t i) {
  const torch::NoGradGuard no_grad;
  const Tensor loss = results_[i][0];
  double value = loss.item<double>();
  share_.Sum(optimizer_.message(), {&value, 1});
  loss.fill_(value);
}

void DeviceUpdate::Step() {
  const torch::NoGradGuard no_grad;
  update_ops::Squares(optimizer_.gradients(), squares_);
  update_ops::AdamWStep(optimizer_.parameters(), optimizer_.first(), optimizer_.second(),
                        optimizer_.gradients(), squares_, clip_, inputs_, results_,
                        transformer_ ? transformer_->bfloat16_copy() : Tensor());
}

// The results before an error stopped the rest, if the device still answers.
void DeviceUpdate::CountDone() {
  try {
    optimizer_.CountSteps(GoodUpdates(inputs_.select(0, 0).cpu()));
  } catch (const std::exception&) {
    // it does not: the error that is thrown says so
  }
}

std::vector<DeviceUpdate::Result> DeviceUpdate::Run(std::span<const Input> updates) {
  const auto count = static_cast<int64_t>(updates.size());
  TORCH_CHECK(count >= 1 && count <= kMaxAtOnce, "device update: expected 1 to ", kMaxAtOnce,
              " updates, found ", count);
  Tensor notes, values;
  recorder_->InOrder([&] {
    {
      const torch::NoGradGuard no_grad;
      Upload(updates);
      if (transformer_ && transformer_->bfloat16_copy().defined()) {
        // whoever restored the weights knows nothing of their copy
        transformer_->bfloat16_copy().copy_(optimizer_.parameters());
      }
    }
    try {
      for (int64_t i = 0; i < count; ++i) {
        recorder_->Run(0, [&] {
          ComputeGradients();
          if (!share_.group()) Step();
        });
        if (!share_.group()) continue;
        SumOverProcesses(i);
        recorder_->Run(1, [&] { Step(); });
      }
    } catch (const std::exception&) {
      CountDone();
      throw;
    }
    notes = inputs_.select(0, 0).to(torch::kCPU, /*non_blocking=*/false, /*copy=*/true);
    values = results_.narrow(0, 0, count).to(torch::kCPU, torch::kFloat64);
  });
  const int64_t good = GoodUpdates(notes);
  optimizer_.CountSteps(good);
  std::vector<Result> results;
  for (int64_t i = 0; i < std::min(count, good + 1); ++i) {
    results.push_back({values[i][0].item<double>(), values[i][1].item<double>()});
  }
  return results;
}

}  // namespace cosdt::agents
