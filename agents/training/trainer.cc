#include "agents/training/trainer.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numbers>
#include <stdexcept>
#include <utility>

#include "agents/models/fused_ops.h"
#include "agents/models/precision.h"
#include "agents/training/update_check.h"

namespace cosdt::agents {
namespace {

using nlohmann::json;

constexpr uint64_t kDropoutStream =
    0x64726f70;  // keeps dropout's keys apart from other uses of seeds

void Expect(bool good, const char* name, const char* expected, double found) {
  if (good) return;
  throw std::invalid_argument(std::string("training: ") + name + ": expected " + expected +
                              ", found " + json(found).dump());
}

void CheckFinite(const char* name, const datasets::FloatVector& values, int64_t width) {
  const auto bad =
      std::find_if(values.begin(), values.end(), [](float x) { return !std::isfinite(x); });
  if (bad == values.end()) return;
  throw std::invalid_argument(std::string("training: ") + name +
                              ": expected finite values, found " + std::to_string(*bad) +
                              " in row " + std::to_string((bad - values.begin()) / width));
}

datasets::WindowOptions SamplerOptions(const Agent& agent, const TrainerOptions& options) {
  datasets::WindowOptions sampler;
  sampler.context = static_cast<int>(agent.options().context());
  sampler.return_scale = options.return_scale;
  sampler.timestep_limit = agent.options().max_timestep();
  sampler.seed = options.seed;
  sampler.whole = options.sample == "whole";
  return sampler;
}

// The path that UpdatePath::kOfDevice stands for on a GPU.
UpdatePath PathOf(const Agent& agent) {
  if (!DeviceUpdate::Takes(agent)) {
    std::fprintf(
        stderr,
        "cosdt: training kernels: expected a width of at most 512 and at most 256 continuous "
        "actions, found %d and %d%s: training uses LibTorch's operations\n",
        static_cast<int>(agent.transformer()->options().width),
        static_cast<int>(agent.options().action_features()),
        agent.options().discrete_actions() > 0 ? " discrete ones" : "");
    return UpdatePath::kAutograd;
  }
  return UpdateOpsAgree(agent.device()) ? UpdatePath::kExplicit : UpdatePath::kAutograd;
}

// Throws for data that do not fit the agent or are not finite.
void CheckData(const Agent& agent, const datasets::Episodes& episodes) {
  ExpectDataOf(agent.options(), episodes);
  CheckFinite("observations", episodes.observations, episodes.observation_size);
  CheckFinite("actions", episodes.actions, episodes.action_size);
  CheckFinite("returns_to_go", episodes.returns_to_go, 1);
}

template <class T>
std::span<T> Span(const torch::Tensor& tensor) {
  return {tensor.data_ptr<T>(), static_cast<size_t>(tensor.numel())};
}

}  // namespace

void TrainerOptions::Validate() const {
  const auto positive = [](double x) { return std::isfinite(x) && x > 0; };
  const auto not_negative = [](double x) { return std::isfinite(x) && x >= 0; };
  Expect(batch_size >= 1, "batch_size", "at least 1", static_cast<double>(batch_size));
  Expect(positive(learning_rate), "learning rate", "a positive number", learning_rate);
  Expect(not_negative(weight_decay), "weight decay", "0 or more", weight_decay);
  Expect(warmup >= 0, "warmup", "0 or more", static_cast<double>(warmup));
  Expect(lr_decay >= 0, "learning-rate decay", "0 or more", static_cast<double>(lr_decay));
  Expect(not_negative(clip), "clip", "0 or more", clip);
  Expect(positive(return_scale), "return scale", "a positive number", return_scale);
  CheckTrainingPrecision(precision);
  if (sample != "any" && sample != "whole") {
    throw std::invalid_argument("training: sample: expected any or whole, found " + sample);
  }
}

TrainerOptions UsualTraining(const std::string& kind) {
  TrainerOptions usual;
  if (kind == "td3bc" || kind == "iql") {
    usual.batch_size = 256;
    usual.learning_rate = 3e-4;
  } else if (kind == "rebrac") {
    usual.batch_size = 1024;
    usual.learning_rate = 1e-3;
  }
  return usual;
}

void KeepFreedMemory() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
#endif
}

Trainer::Trainer(std::shared_ptr<Agent> agent, const datasets::Episodes& episodes,
                 datasets::Normalizer normalizer, const TrainerOptions& options, UpdatePath path,
                 std::shared_ptr<const CriticGuide> critic, ProcessGroup* group)
    : AgentTrainer(BatchShare(group, options.batch_size, "windows")),
      agent_(std::move(agent)),
      normalizer_(std::move(normalizer)),
      options_((options.Validate(), options)),
      critic_(std::move(critic)),
      sampler_(episodes, SamplerOptions(*agent_, options_)),
      optimizer_(agent_->module(), options_.weight_decay),
      windows_(options_.batch_size) {
  CheckData(*agent_, episodes);
  const torch::Device device = agent_->device();
  if (group && !device.is_cpu()) group->UseDevice(device);
  torch::ScalarType type = ParseTrainingPrecision(options_.precision, device);
  // AMX is LibTorch's, by way of autograd
  const bool amx = type == torch::kBFloat16 && kernels::ProcessorHasAmx();
  if (device.is_cpu() && path == UpdatePath::kOfDevice && !amx) type = CpuComputeType(type);
  if (type == torch::kBFloat16) agent_->set_compute_type(type);
  agent_->module().train();
  // the kernels are checked in exact float32
  if (!device.is_cpu()) at::globalContext().setFloat32MatmulPrecision("highest");
  if (critic_ && !device.is_cpu()) {
    std::fprintf(stderr, "cosdt: training with a critic uses LibTorch's operations\n");
    path = UpdatePath::kAutograd;
  }
  if (path == UpdatePath::kOfDevice && !device.is_cpu()) path = PathOf(*agent_);
  SetProductPrecision();
  if (path == UpdatePath::kExplicit || !device.is_cpu()) {
    DeviceWindows data(episodes, normalizer_, SamplerOptions(*agent_, options_), device);
    if (path == UpdatePath::kExplicit) {
      device_update_ = std::make_unique<DeviceUpdate>(*agent_, optimizer_, std::move(data), share_,
                                                      options_.clip, type);
    } else {
      device_windows_ = std::move(data);
    }
    return;
  }
  if (const DecisionTransformer model = agent_->transformer();
      path == UpdatePath::kOfDevice && model && !amx && CpuUpdate::Takes(model->options())) {
    cpu_update_ =
        std::make_unique<CpuUpdate>(model, optimizer_, share_.count(), type, critic_.get());
  }
  const int64_t batch = share_.count(), steps = agent_->options().context();
  batch_ = {
      .returns_to_go = torch::empty({batch, steps}),
      .observations = torch::empty({batch, steps, episodes.observation_size}),
      .actions = torch::empty({batch, steps, episodes.action_size}),
      .timesteps = torch::empty({batch, steps}, torch::kInt64),
      .mask = torch::empty({batch, steps}, torch::kBool),
      .previous_actions = torch::empty(
          {agent_->options().reads_previous_actions() ? batch : 0, steps, episodes.action_size})};
}

Batch Trainer::NextBatch() {
  Batch batch = GatherWindows();
  if (!critic_) return batch;
  batch.critic_observations = torch::empty(
      {share_.count(), agent_->options().context(), agent_->options().observation_size()});
  batch.critic_weights = torch::empty(share_.count());
  critic_->Fill(OwnWindows(), Span<float>(batch.critic_observations),
                Span<float>(batch.critic_weights));
  return batch;
}

Batch Trainer::GatherWindows() {
  if (device_windows_) {
    return device_windows_->Gather(device_windows_->Describe(OwnWindows()).to(agent_->device()),
                                   agent_->options().reads_previous_actions());
  }
  sampler_.Fill(OwnWindows(), &normalizer_,
                {.observations = Span<float>(batch_.observations),
                 .actions = Span<float>(batch_.actions),
                 .returns_to_go = Span<float>(batch_.returns_to_go),
                 .timesteps = Span<int64_t>(batch_.timesteps),
                 .mask = Span<bool>(batch_.mask),
                 .previous_actions = Span<float>(batch_.previous_actions)});
  return batch_;
}

double Trainer::LearningRate(int64_t update) const {
  // how far an update is in a phase of the rate; 1 after it
  const auto part = [](int64_t at, int64_t updates) {
    return updates > 0 ? std::min(1.0, static_cast<double>(at) / static_cast<double>(updates))
                       : 1.0;
  };
  double rate = options_.learning_rate * part(update, options_.warmup);
  if (options_.lr_decay > 0) {
    rate *= (1 + std::cos(std::numbers::pi * part(update - 1, options_.lr_decay))) / 2;
  }
  return rate;
}

uint64_t Trainer::DropoutKey(int64_t update) const {
  return Dropout{0, options_.seed ^ kDropoutStream}.For(static_cast<uint64_t>(update)).key;
}

// LibTorch's setting is the whole process's: another trainer may have changed it.
void Trainer::SetProductPrecision() const {
  if (agent_->device().is_cpu()) return;
  at::globalContext().setFloat32MatmulPrecision(options_.precision == "tf32" ? "high" : "highest");
}

std::string Trainer::update_path() const {
  if (agent_->device().is_cpu()) return "cpu";
  return device_update_ ? "kernels" : "composition";
}

UpdateResult Trainer::Update() { return Update(1).front(); }

std::vector<UpdateResult> Trainer::Update(int64_t count) {
  const ProcessGroup::Computation computation(share_.group());
  SetProductPrecision();
  std::vector<UpdateResult> results;
  while (static_cast<int64_t>(results.size()) < count) {
    const uint64_t position = sampler_.position();
    const size_t done = results.size();
    const int64_t before = updates();
    const auto rewind = [&](int64_t kept) {
      sampler_.set_position(position + static_cast<uint64_t>(kept * options_.batch_size));
    };
    try {
      if (device_update_) {
        UpdateOnDevice(std::min(DeviceUpdate::kMaxAtOnce, count - static_cast<int64_t>(done)),
                       results);
      } else {
        results.push_back(UpdateOnce());
      }
    } catch (const std::exception&) {
      rewind(updates() - before);
      throw;
    }
    const UpdateResult last = results.back();
    const bool loss_is_good = std::isfinite(last.loss);
    if (loss_is_good && std::isfinite(last.gradient_norm)) continue;
    results.pop_back();
    rewind(updates() - before);
    throw NotFiniteError("training: update " + std::to_string(last.update) +
                             ": expected a finite " + (loss_is_good ? "gradient" : "loss") +
                             ", found " +
                             std::to_string(loss_is_good ? last.gradient_norm : last.loss),
                         std::move(results));
  }
  return results;
}

// Appends the updates; one that is not finite, which changes nothing, is the last.
void Trainer::UpdateOnDevice(int64_t count, std::vector<UpdateResult>& results) {
  const auto batch = static_cast<size_t>(options_.batch_size);
  std::vector<datasets::Window> windows(static_cast<size_t>(count) * batch);
  sampler_.Sample(windows);
  std::vector<DeviceUpdate::Input> inputs;
  const int64_t first = updates() + 1;
  for (int64_t i = 0; i < count; ++i) {
    inputs.push_back({std::span(windows).subspan(static_cast<size_t>(i) * batch, batch),
                      DropoutKey(first + i), LearningRate(first + i)});
  }
  int64_t update = first;
  for (const DeviceUpdate::Result& result : device_update_->Run(inputs)) {
    results.push_back({update, result.loss, result.gradient_norm, LearningRate(update)});
    ++update;
  }
}

std::span<const datasets::Window> Trainer::OwnWindows() const {
  return std::span(windows_).subspan(static_cast<size_t>(share_.first()),
                                     static_cast<size_t>(share_.count()));
}

// Of the whole batch.
int64_t Trainer::RealSteps() const {
  int64_t steps = 0;
  for (const datasets::Window& window : windows_) steps += window.length;
  return steps;
}

// An update on the windows at hand; computes no gradients if the loss is not finite.
double Trainer::ComputeLossAndGradients(uint64_t dropout_key) {
  const Batch batch = NextBatch();
  if (cpu_update_) {
    using Whole = CpuUpdate::Whole;
    return cpu_update_->Run(
        batch, dropout_key,
        share_.group() ? std::optional(Whole{share_.first(), RealSteps()}) : std::nullopt);
  }
  agent_->set_dropout_key(dropout_key, share_.first());
  const torch::Tensor predicted = agent_->Predict(batch);
  torch::Tensor loss =
      ActionLoss(predicted, batch.actions, batch.mask, agent_->options().discrete_actions());
  if (critic_) {
    loss = loss +
           critic_->Loss(predicted, batch.mask, batch.critic_observations, batch.critic_weights);
  }
  if (share_.group())
    loss = loss * (batch.mask.sum().item<double>() / static_cast<double>(RealSteps()));
  if (share_.group() || torch::isfinite(loss).item<bool>()) {
    optimizer_.ZeroGradients();
    loss.backward();
  }
  return loss.item<double>();
}

// An update that is not finite changes nothing.
UpdateResult Trainer::UpdateOnce() {
  UpdateResult result;
  result.update = updates() + 1;
  result.learning_rate = LearningRate(result.update);
  sampler_.Sample(windows_);
  result.loss = ComputeLossAndGradients(DropoutKey(result.update));
  share_.Sum(optimizer_.message(), {&result.loss, 1});
  if (!std::isfinite(result.loss)) return result;
  result.gradient_norm = optimizer_.GradientNorm().item<double>();
  if (!std::isfinite(result.gradient_norm)) return result;
  const double scale = options_.clip > 0 && result.gradient_norm > options_.clip
                           ? options_.clip / (result.gradient_norm + 1e-6)
                           : 1;
  optimizer_.Step(result.learning_rate, scale);
  return result;
}

}  // namespace cosdt::agents
