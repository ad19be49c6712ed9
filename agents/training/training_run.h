// A training run in a folder, which can be killed at any moment and resumed bit for bit.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agents/models/checkpoint.h"
#include "agents/storage/folder_lock.h"
#include "agents/storage/option_name.h"
#include "agents/training/trainer.h"
#include "datasets/episodes.h"

namespace cosdt::agents {

struct TrainingRunOptions {
  AgentOptions agent;
  TrainerOptions trainer;
  int64_t updates = 100'000;
  int64_t save_every = 1000;  // updates
  int64_t eval_every = 0;     // updates between evaluations, one more at the end; 0: none

  // Throws std::invalid_argument, and what the agent's and the trainer's options throw.
  void Validate() const;
};

// Calls visit(OptionName, field) for the fields that are neither the agent's nor the trainer's.
template <class Options, class Visitor>
  requires std::same_as<std::remove_const_t<Options>, TrainingRunOptions>
void Visit(Options& o, const Visitor& visit) {
  visit(OptionName{"updates", "updates", "number of training updates"}, o.updates);
  visit(OptionName{"save_every", "save-every", "updates between saves"}, o.save_every);
  visit(OptionName{"eval_every", "eval-every",
                   "updates between evaluations, whose best agent is kept (0: none)"},
        o.eval_every);
}

// The run's calls while it trains. Calls about updates after the last save are repeated if the run
// is killed and resumed: discard what was written of them.
class TrainingRunObserver {
 public:
  virtual ~TrainingRunObserver() = default;

  // After every update; on a GPU after several, with the last one.
  virtual void OnUpdate(const UpdateResult& /*result*/) {}

  // Every 100 updates and at the end: loss (the mean since the last call), gradient_norm,
  // learning_rate, updates_per_second; of agents with critics also actor_loss, value_loss and q.
  virtual void OnMetrics(int64_t /*update*/, const std::map<std::string, double>& /*values*/) {}

  // Before the agent is saved every `save_every` updates, and at the end of training. `info` is
  // what a checkpoint of it holds.
  virtual void OnSave(int64_t /*update*/, Agent& /*agent*/, const CheckpointInfo& /*info*/) {}

  // Whether an evaluation is still to be done after this update, at which one is due.
  virtual bool NeedsEvaluation(int64_t /*update*/) { return false; }

  // Evaluates the agent in the checkpoint, which `update` updates led to.
  virtual void Evaluate(int64_t /*update*/, const std::string& /*checkpoint*/) {}
};

// Keeps two files in the folder, each replaced as a whole:
//   last.safetensors      the agent at the last save (agents/models/checkpoint.h)
//   resume.safetensors    all that resuming needs; written after it
// The final weights of a run that was killed and resumed are those of an undisturbed run, bit for
// bit.
class TrainingRun {
 public:
  // Locks the folder, which is made if there is none, and begins a run in it, or with `resume`
  // continues the one from its last save. `info` is written to checkpoints; its updates and return
  // scale are set here. A run that begins draws its weights, or copies those of `initial`, which
  // has the options' shape. `episodes` must outlive this object. `critic` is the one that `info`
  // names. If one of the info's targets is auto, a return predictor is fitted to the data, the same
  // whenever the run is resumed, which takes seconds.
  //
  // Throws FolderInUse, std::runtime_error if there is a run and `resume` is false, FileError if
  // the run began with data or a critic of another SHA-256, if its files are damaged or of other
  // options, or if a limit on the size of files (ulimit -f) is too small for resume.safetensors;
  // and what MakeTrainer throws.
  //
  // In a group, rank 0 alone reads and writes the folder, and the others begin with its state.
  TrainingRun(const TrainingRunOptions& options, const datasets::Episodes& episodes,
              CheckpointInfo info, std::string folder, bool resume,
              const torch::Device& device = torch::kCPU,
              const DecisionTransformer& initial = nullptr,
              std::shared_ptr<const CriticGuide> critic = nullptr, ProcessGroup* group = nullptr);

  // Trains until options.updates, saving every options.save_every, or until `stop`, which is asked
  // after every update, on a GPU after as many as take a fraction of a second; then saves. If
  // training fails, it saves the last good weights and throws what the trainer threw.
  //
  // In a group, a stop that any process asks for stops all after one update, and every save
  // compares the weights of all. If a process is lost, rank 0 saves, and all throw ProcessLost.
  void Train(TrainingRunObserver& observer, const std::function<bool()>& stop = nullptr);

  int64_t updates() const { return trainer_->updates(); }
  const AgentTrainer& trainer() const { return *trainer_; }
  std::string checkpoint() const { return folder_ + "/last.safetensors"; }

  // In the last call of Train, without evaluations.
  double updates_per_second() const { return updates_per_second_; }

 private:
  using Clock = std::chrono::steady_clock;

  // Counts updates from a moment on.
  struct Stretch {
    int64_t first = 0;
    Clock::time_point start;

    double Rate(int64_t updates) const;
  };

  std::string state() const { return folder_ + "/resume.safetensors"; }
  void Restore();
  void ShareState();
  void Save();
  void Write();
  std::string LastSave() const;
  int64_t NextCount() const;
  std::vector<UpdateResult> Update();
  void CountLosses(const std::vector<UpdateResult>& results);
  bool AfterUpdate(const UpdateResult& last, TrainingRunObserver& observer);
  bool EvaluateIfDue(TrainingRunObserver& observer);
  bool IsFirst() const { return !group_ || group_->is_first(); }

  TrainingRunOptions options_;
  CheckpointInfo info_;
  std::string folder_;
  ProcessGroup* group_;
  std::optional<FolderLock> lock_;
  std::unique_ptr<AgentTrainer> trainer_;
  int64_t saved_ = -1;   // updates at the last save
  double loss_sum_ = 0;  // since the last metrics
  int64_t loss_count_ = 0;
  int64_t at_once_ = 1;  // updates that a GPU does in one call
  Stretch all_, line_;   // of this call of Train; since the last metrics
  double updates_per_second_ = 0;
};

}  // namespace cosdt::agents
