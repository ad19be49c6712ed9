#include "experiments/runs/train_run.h"

#include <cstdio>
#include <filesystem>
#include <stdexcept>

#include "agents/models/precision.h"
#include "attention/linear_op.h"
#include "datasets/atomic_file.h"
#include "datasets/sha256.h"
#include "experiments/program/device.h"
#include "experiments/program/progress.h"
#include "experiments/program/version.h"
#include "experiments/runs/run_files.h"
#include "experiments/runs/train_config.h"

namespace cosdt::experiments {
namespace {

// The path that computes the agent's linear attention: "kernels", or "composition" of LibTorch's
// operations; none for agents without it.
std::optional<std::string> AttentionPath(const agents::Agent& agent, const std::string& precision) {
  const agents::DecisionTransformer model = agent.transformer();
  if (!model || !model->blocks.front()->attention->form()) return std::nullopt;
  const agents::DecisionTransformerOptions& options = model->options();
  const int64_t width = options.width / options.heads;
  const auto type = agents::ParseTrainingPrecision(precision, agent.device());
  const torch::Tensor q =
      torch::empty({1, options.heads, 1, width}, torch::TensorOptions(agent.device()).dtype(type));
  return attention::HasCausalLinearKernel(q, width) ? "kernels" : "composition";
}

// Writes what a run tells into its folder, and shows its progress.
class RunWriter : public agents::TrainingRunObserver {
 public:
  RunWriter(const std::string& folder, const TrainOptions& options, int64_t updates,
            const std::function<bool()>& stop)
      : metrics_(folder, updates),
        evaluations_(folder, options, updates),
        progress_("training", "updates", static_cast<double>(options.updates)),
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
  bool NeedsEvaluation(int64_t update) override { return !evaluations_.Has(update); }
  void Evaluate(int64_t update, const std::string& checkpoint) override {
    evaluations_.Evaluate(update, checkpoint, metrics_, stop_);
  }

  const Metrics& metrics() const { return metrics_; }
  const Evaluations& evaluations() const { return evaluations_; }

 private:
  Metrics metrics_;
  Evaluations evaluations_;
  Progress progress_;
  const std::function<bool()>& stop_;
};

agents::CheckpointInfo DescribeRun(const ResolvedRun& run) {
  agents::CheckpointInfo info;
  info.normalizer = run.data().normalizer;
  info.env = run.options().env;
  info.physics = run.options().physics;
  info.dataset = run.data().path;
  info.dataset_sha256 = run.data().sha256;
  info.targets = run.options().targets;
  info.run = WriteToml(run.options());
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
          .loss = writer.metrics().LastLoss(),
          .updates_per_second = training.updates_per_second(),
          .dataset = {run.data().path, run.data().sha256},
          .checkpoint = {checkpoint, datasets::Sha256OfFile(checkpoint)},
          .last = writer.evaluations().Last(checkpoint),
          .best = writer.evaluations().Best(),
          .update_path = trainer.update_path(),
          .attention_path = AttentionPath(trainer.agent(), options.trainer.precision)};
}

}  // namespace

TrainReport TrainInFolder(const ResolvedRun& run, const std::string& folder, bool resume,
                          const torch::Device& device, const std::function<bool()>& stop,
                          const agents::DecisionTransformer& initial) {
  const std::string& remark = run.data().remark;
  if (!remark.empty()) std::fprintf(stderr, "cosdt: %s\n", remark.c_str());
  const agents::CheckpointInfo info = DescribeRun(run);
  agents::TrainingRun training(run.options(), run.data().episodes, info, folder, resume, device,
                               initial);
  const std::string config = folder + "/config.toml";
  if (!resume && std::filesystem::exists(config)) {  // killed before its first save
    throw std::runtime_error(folder +
                             ": expected a folder without a run, found one (resume to continue "
                             "it)");
  }
  datasets::WriteFile(config, info.run);
  RunWriter writer(folder, run.options(), training.updates(), stop);
  training.Train(writer, stop);
  return DescribeTraining(run, training, writer, device);
}

std::optional<TrainOptions> ReadRunOptions(const std::string& folder) {
  const std::string path = folder + "/config.toml";
  if (!std::filesystem::exists(path)) return std::nullopt;
  TrainOptions options;
  ReadToml(path, ReadConfigFile(path), options);
  return options;
}

}  // namespace cosdt::experiments
