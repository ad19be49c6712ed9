// Training by imitation of windows of a dataset, with the original Decision Transformer's recipe:
// mean squared error of actions over real steps, AdamW on all parameters, a linear learning-rate
// warm-up to a constant rate, gradients clipped by their norm. Short runs gain by a rate that
// decays in the end.
#pragma once

#include <concepts>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agents/models/agent.h"
#include "agents/processes/process_group.h"
#include "agents/storage/option_name.h"
#include "agents/training/adamw.h"
#include "agents/training/agent_trainer.h"
#include "agents/training/cpu_update.h"
#include "agents/training/critic_guide.h"
#include "agents/training/device_update.h"
#include "agents/training/device_windows.h"
#include "datasets/episodes.h"
#include "datasets/normalizer.h"
#include "datasets/window_sampler.h"

namespace cosdt::agents {

struct TrainerOptions {
  int64_t batch_size = 64;  // windows
  double learning_rate = 1e-4;
  double weight_decay = 1e-4;
  int64_t warmup = 10'000;  // update u has the rate times min(1, u / warmup), u from 1
  int64_t lr_decay = 0;     // above 0: also times (1 + cos(pi min(1, (u - 1) / lr_decay))) / 2
  double clip = 0.25;       // the gradients' largest norm; 0: not clipped
  double return_scale = datasets::kReturnScale;  // returns-to-go are divided by it
  std::string precision = "fp32";  // of matrix products and attention; tf32 (GPU) or bf16
  uint64_t seed = 0;               // of windows and dropout
  std::string sample = "any";      // or whole: no windows cut by an episode's end (WindowOptions)

  // Throws std::invalid_argument for values out of range and unknown names.
  void Validate() const;
};

// Calls visit(OptionName, field) for every field: the table for flags, TOML and checkpoints.
template <class Options, class Visitor>
  requires std::same_as<std::remove_const_t<Options>, TrainerOptions>
void Visit(Options& o, const Visitor& visit) {
  visit(
      OptionName{
          "batch_size", "batch-size",
          "windows or transitions per update (0: the agent's default, 64 for dt and bc, 256 for "
          "td3bc and iql, 1024 for rebrac)"},
      o.batch_size);
  visit(OptionName{"windows", "sample",
                   "windows to sample: any, or whole (none cut by an episode's end)"},
        o.sample);
  visit(
      OptionName{
          "learning_rate", "lr",
          "learning rate (0: the agent's default, 1e-4 for dt and bc, 3e-4 for td3bc and iql, "
          "1e-3 for rebrac)"},
      o.learning_rate);
  visit(OptionName{"weight_decay", "weight-decay", "weight decay of AdamW"}, o.weight_decay);
  visit(OptionName{"warmup", "warmup", "updates of linear learning-rate warm-up"}, o.warmup);
  visit(OptionName{"decay", "lr-decay",
                   "updates of cosine learning-rate decay to 0 (0: constant); of iql the actor's"},
        o.lr_decay);
  visit(OptionName{"clip", "clip", "clip gradients to this global norm (0: off)"}, o.clip);
  visit(OptionName{"return_scale", "return-scale",
                   "divide returns-to-go by this (0: 1000, for a T-maze 1)"},
        o.return_scale);
  visit(OptionName{"precision", "precision",
                   "precision of matrix products: fp32, tf32 (GPU only) or bf16"},
        o.precision);
  visit(OptionName{"seed", "seed", "seed of weights, windows and dropout"}, o.seed);
}

// The defaults, with batch size and learning rate of the agent's kind; those of agents with critics
// are CORL's.
TrainerOptions UsualTraining(const std::string& kind);

// glibc returns large freed blocks to the system, and the next update gets them back page by page,
// which takes as long as its matrix products. This makes the process keep them. For programs that
// train; no effect without glibc.
void KeepFreedMemory();

// The code that computes updates.
enum class UpdatePath {
  kOfDevice,  // on the CPU CpuUpdate, if it takes the agent; on a GPU kExplicit, if its kernels
              // take the agent and agree with the CPU's (update_check.h); else kAutograd
  kAutograd,  // the agent's modules, one update at a time
  kExplicit,  // DeviceUpdate, on any device
};

// Same seed, same weights, bit for bit: on one machine, with the same number of threads (torch's).
// With the agent on a GPU, the data is there too, and batches are assembled there.
class Trainer : public AgentTrainer {
 public:
  // Takes the agent's weights as they are; episodes must outlive this object. A critic, of the same
  // episodes, joins the loss; on a GPU by LibTorch's operations, which one line on stderr says.
  // Throws std::invalid_argument if sizes do not fit, for precision tf32 on the CPU, if a value of
  // the data is not finite, naming its array and row, and if the group, which may be null and must
  // outlive this object, has more processes than a batch has windows.
  Trainer(std::shared_ptr<Agent> agent, const datasets::Episodes& episodes,
          datasets::Normalizer normalizer, const TrainerOptions& options,
          UpdatePath path = UpdatePath::kOfDevice,
          std::shared_ptr<const CriticGuide> critic = nullptr, ProcessGroup* group = nullptr);
  Trainer(Trainer&&) = delete;  // updates hold references to its members

  // One update, or `count`: many at once are faster on a GPU, which then need not wait for the
  // host. Throws NotFiniteError at the first update whose loss or gradient is not finite, and
  // what LibTorch throws (memory); all state, the sampler's position included, is then that of the
  // updates before it. On a GPU it sets LibTorch's precision of float32 products.
  UpdateResult Update();
  std::vector<UpdateResult> Update(int64_t count) override;

  // On a GPU "kernels" is kExplicit.
  std::string update_path() const override;

  int64_t updates() const override { return optimizer_.steps(); }
  using AgentTrainer::agent;
  Agent& agent() override { return *agent_; }
  const datasets::Normalizer& normalizer() const { return normalizer_; }

  void Save(const std::string& path,
            std::map<std::string, std::string> metadata = {}) const override;
  std::map<std::string, std::string> Restore(const std::string& path) override;

 private:
  std::vector<torch::Tensor> Arrays() const override;
  void SetUpdates(int64_t updates) override;
  Batch NextBatch();
  Batch GatherWindows();
  double LearningRate(int64_t update) const;
  uint64_t DropoutKey(int64_t update) const;
  void SetProductPrecision() const;
  UpdateResult UpdateOnce();
  double ComputeLossAndGradients(uint64_t dropout_key);
  std::span<const datasets::Window> OwnWindows() const;
  int64_t RealSteps() const;
  void UpdateOnDevice(int64_t count, std::vector<UpdateResult>& results);

  std::shared_ptr<Agent> agent_;
  datasets::Normalizer normalizer_;
  TrainerOptions options_;
  std::shared_ptr<const CriticGuide> critic_;
  datasets::WindowSampler sampler_;
  AdamW optimizer_;
  std::vector<datasets::Window> windows_;        // the whole batch's
  Batch batch_;                                  // on the CPU: refilled for every update
  std::unique_ptr<CpuUpdate> cpu_update_;        // kOfDevice on the CPU
  std::optional<DeviceWindows> device_windows_;  // kAutograd on a GPU
  std::unique_ptr<DeviceUpdate> device_update_;  // kExplicit
};

}  // namespace cosdt::agents
