#include "experiments/runs/train_run.h"

#include <ATen/Version.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <utility>

#include "agents/models/precision.h"
#include "attention/linear_op.h"
#include "datasets/atomic_file.h"
#include "datasets/sha256.h"
#include "experiments/program/device.h"
#include "experiments/program/progress.h"
#include "experiments/program/version.h"
#include "experiments/runs/run_files.h"
#include "experiments/runs/train_config.h"
#include "experiments/runs/validation.h"

namespace cosdt::experiments {
namespace {

constexpr char kValidationLoss[] = "validation_loss";

// The path that computes the agent's linear attention: "kernels", or "composition" of LibTorch's
// operations; none for agents without it.
std::optional<std::string> AttentionPath(const agents::Agent& agent, const std::string& precision) {
  const agents::DecisionTransformer model = agent.transformer();
  if (!model) return std::nullopt;
  const auto block = std::ranges::find_if(
      model->blocks, [](const auto& b) { return b->attention->form().has_value(); });
  if (block == model->blocks.end()) return std::nullopt;
  const agents::DecisionTransformerOptions& options = model->options();
  const int64_t width = options.width / options.heads;
  const auto type = agents::ParseTrainingPrecision(precision, agent.device());
  const torch::Tensor q =
      torch::empty({1, options.heads, 1, width}, torch::TensorOptions(agent.device()).dtype(type));
  return attention::HasCausalLinearKernel(q, width, *(*block)->attention->form()) ? "kernels"
                                                                                  : "composition";
}

// Writes what a run tells into its folder, and shows its progress.
class RunWriter : public agents::TrainingRunObserver {
 public:
  RunWriter(const std::string& folder, const TrainOptions& options, int64_t updates,
            std::optional<Validation> validation, agents::ProcessGroup* group,
            const std::function<bool()>& stop)
      : metrics_(folder, updates),
        evaluations_(folder, options, updates, group),
        folder_(folder),
        keeps_best_(options.eval_every == 0),
        progress_("training", "updates", static_cast<double>(options.updates)),
        validation_(std::move(validation)),
        stop_(stop) {
    progress_.Update(static_cast<double>(updates));
  }

  void OnUpdate(const agents::UpdateResult& result) override {
    char note[32];
    std::snprintf(note, sizeof note, "loss %.4f", result.loss);
    progress_.Update(static_cast<double>(result.update), note);
  }
  void OnMetrics(int64_t update, const std::map<std::string, double>& values) override {
    metrics_.Write(update, values);
  }
  void OnSave(int64_t update, agents::Agent& agent, const agents::CheckpointInfo& info) override {
    if (!validation_) return;
    const double loss = validation_->Loss(agent);
    const std::optional<std::pair<int64_t, double>> best = metrics_.Least(kValidationLoss);
    if (keeps_best_ && std::isfinite(loss) && !(best && best->second <= loss)) {
      agents::WriteCheckpoint(best_checkpoint(), agent, info);
    }
    metrics_.Write(update, {{kValidationLoss, loss}});
  }
  bool NeedsEvaluation(int64_t update) override { return !evaluations_.Has(update); }
  void Evaluate(int64_t update, const std::string& checkpoint) override {
    evaluations_.Evaluate(update, checkpoint, metrics_, stop_);
  }

  const Metrics& metrics() const { return metrics_; }
  const Evaluations& evaluations() const { return evaluations_; }

  // The best agent by evaluations or, without them, by the validation loss.
  std::optional<TrainingEvaluation> Best() const {
    if (!keeps_best_) return evaluations_.Best();
    const auto best = metrics_.Least(kValidationLoss);
    if (!best) return std::nullopt;
    return TrainingEvaluation{best_checkpoint(), best->first, {}};
  }

 private:
  std::string best_checkpoint() const { return folder_ + "/best.safetensors"; }

  Metrics metrics_;
  Evaluations evaluations_;
  std::string folder_;
  bool keeps_best_;  // by the validation loss
  Progress progress_;
  std::optional<Validation> validation_;
  const std::function<bool()>& stop_;
};

// A process besides rank 0, which plays its share of every evaluation.
class RunFollower : public agents::TrainingRunObserver {
 public:
  RunFollower(const TrainOptions& options, agents::ProcessGroup* group,
              const std::function<bool()>& stop)
      : options_(options), group_(group), stop_(stop) {}

  void Evaluate(int64_t /*update*/, const std::string& checkpoint) override {
    EvaluateInTraining(ReadCheckpointOfFirst(checkpoint, group_), options_, group_, stop_);
  }

 private:
  const TrainOptions& options_;
  agents::ProcessGroup* group_;
  const std::function<bool()>& stop_;
};

// Processes of a run must be alike: their sums would be of different things.
void ExpectSameRun(const ResolvedRun& run, const torch::Device& device,
                   agents::ProcessGroup& group) {
  TrainOptions options = run.options();
  options.dataset.clear();  // paths on each node
  options.critic.clear();
  group.ExpectSame("program", VersionText() + "\ninstructions " + at::get_cpu_capability());
  group.ExpectSame("options", WriteToml(options));
  group.ExpectSame("dataset's SHA-256", run.data().sha256);
  group.ExpectSame("critic's SHA-256", run.data().critic ? run.data().critic->file.sha256 : "");
  group.ExpectSame("device", device.is_cpu() ? "cpu" : "cuda");
}

agents::CheckpointInfo DescribeRun(const ResolvedRun& run) {
  agents::CheckpointInfo info;
  info.normalizer = run.data().normalizer;
  info.env = run.options().env;
  info.physics = run.options().physics;
  info.dataset = run.data().path;
  info.dataset_sha256 = run.data().sha256;
  info.targets = run.options().targets;
  info.run = WriteToml(run.options());
  if (const std::optional<CriticFile>& critic = run.data().critic) {
    info.critic = critic->file.path;
    info.critic_sha256 = critic->file.sha256;
    info.critic_run = critic->checkpoint.info.run;
  }
  return info;
}

TrainReport DescribeTraining(const ResolvedRun& run, const agents::TrainingRun& training,
                             const RunWriter& writer, const torch::Device& device) {
  const TrainOptions& options = run.options();
  const agents::AgentTrainer& trainer = training.trainer();
  const std::string checkpoint = training.checkpoint();
  return {.device = UseOf(device),
          .env = options.env,
          .physics = options.physics,
          .torch_version = TorchVersion(),
          .seed = options.trainer.seed,
          .updates = training.updates(),
          .loss = writer.metrics().Last("loss"),
          .updates_per_second = training.updates_per_second(),
          .dataset = {run.data().path, run.data().sha256},
          .checkpoint = {checkpoint, datasets::Sha256OfFile(checkpoint)},
          .last = writer.evaluations().Last(checkpoint),
          .best = writer.Best(),
          .validation_loss = writer.metrics().Last(kValidationLoss),
          .update_path = trainer.update_path(),
          .attention_path = AttentionPath(trainer.agent(), options.trainer.precision)};
}

}  // namespace

TrainReport TrainInFolder(const ResolvedRun& run, const std::string& folder, bool resume,
                          const torch::Device& device, const std::function<bool()>& stop,
                          const agents::DecisionTransformer& initial, agents::ProcessGroup* group) {
  const bool writes = !group || group->is_first();
  if (group) ExpectSameRun(run, device, *group);
  const std::string& remark = run.data().remark;
  if (!remark.empty() && writes) std::fprintf(stderr, "cosdt: %s\n", remark.c_str());
  const agents::CheckpointInfo info = DescribeRun(run);
  agents::TrainingRun training(run.options(), run.data().episodes, info, folder, resume, device,
                               initial, MakeCriticGuide(run), group);
  if (!writes) {
    RunFollower follower(run.options(), group, stop);
    training.Train(follower, stop);
    return {};
  }
  const std::string config = folder + "/config.toml";
  if (!resume && std::filesystem::exists(config)) {  // killed before its first save
    throw std::runtime_error(folder +
                             ": expected a folder without a run, found one (resume to continue "
                             "it)");
  }
  datasets::WriteFile(config, info.run);
  std::optional<Validation> validation;
  if (run.data().held_out.size() > 0) validation.emplace(run, device);
  RunWriter writer(folder, run.options(), training.updates(), std::move(validation), group, stop);
  training.Train(writer, stop);
  return DescribeTraining(run, training, writer, device);
}

std::optional<TrainOptions> ReadRunOptions(const std::string& folder, agents::ProcessGroup* group) {
  const std::string path = folder + "/config.toml";
  const bool reads = !group || group->is_first();
  std::string text = reads && std::filesystem::exists(path) ? ReadConfigFile(path) : "";
  if (group) text = group->Broadcast(text);
  if (text.empty()) return std::nullopt;
  TrainOptions options;
  ReadToml(path, text, options);
  return options;
}

}  // namespace cosdt::experiments
