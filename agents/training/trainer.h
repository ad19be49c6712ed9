// Training by imitation of windows of a dataset, with the original Decision Transformer's recipe:
// mean squared error of actions over real steps, AdamW on all parameters, a rate that rises
// linearly and then stays, gradients clipped by their norm. Short trainings gain by a rate that
// falls in the end.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "agents/models/agent.h"
#include "agents/training/adamw.h"
#include "agents/training/cpu_update.h"
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
  int64_t warmup = 10'000;         // update u has the rate times min(1, u / warmup), u from 1
  int64_t decay = 0;               // above 0: times (1 + cos(pi min(1, (u - 1) / decay))) / 2, too
  double clip = 0.25;              // the gradients' largest norm; 0: not clipped
  double return_scale = 1000;      // returns-to-go are divided by it
  std::string precision = "fp32";  // of matrix products and attention; tf32 (GPU) or bf16
  uint64_t seed = 0;               // of windows and dropout
  std::string windows = "any";     // or whole: not cut by an episode's end (WindowOptions)

  // Throws std::invalid_argument for numbers out of range and unknown names.
  void Validate() const;
};

// glibc returns large freed blocks to the system, and the next update gets them back page by page,
// which takes as long as its matrix products. This makes the process keep them. For programs that
// train; no effect elsewhere than on glibc.
void KeepFreedMemory();

struct UpdateResult {
  int64_t update = 0;  // counted from 1
  double loss = 0;
  double gradient_norm = 0;  // before clipping
  double learning_rate = 0;
};

// Thrown where an update's loss or gradient is not finite, which the message names.
class NotFiniteError : public std::runtime_error {
 public:
  NotFiniteError(const std::string& message, std::vector<UpdateResult> done)
      : std::runtime_error(message), done_(std::move(done)) {}

  // The updates before it that the same call did.
  const std::vector<UpdateResult>& done() const { return done_; }

 private:
  std::vector<UpdateResult> done_;
};

// What computes updates.
enum class UpdatePath {
  kOfDevice,  // on the CPU CpuUpdate, if it takes the agent; on a GPU kExplicit, if its kernels
              // take the agent and agree with the CPU's (update_check.h); else kAutograd
  kAutograd,  // the agent's modules, one update at a time
  kExplicit,  // DeviceUpdate, on any device
};

// Same seed, same weights, bit for bit: on one machine, with the same number of threads (torch's).
// Where the agent is on a GPU, so is the data, and batches are assembled there.
class Trainer {
 public:
  // Takes the agent's weights as they are; episodes must outlive this object. Throws
  // std::invalid_argument where sizes do not fit, for precision tf32 on the CPU, and naming the
  // array and row where a number of the data is not finite.
  Trainer(std::shared_ptr<Agent> agent, const datasets::Episodes& episodes,
          datasets::Normalizer normalizer, const TrainerOptions& options,
          UpdatePath path = UpdatePath::kOfDevice);
  Trainer(Trainer&&) = delete;  // an update refers to what it changes

  // One update, or `count`: on a GPU many at once are faster, since only then it need not wait for
  // the host. Throws NotFiniteError at the first update whose loss or gradient is not finite, and
  // what LibTorch throws (memory); all state, the sampler's position included, is then that of the
  // updates before it. On a GPU it sets LibTorch's precision of float32 products.
  UpdateResult Update();
  std::vector<UpdateResult> Update(int64_t count);

  // What computes updates: "kernels" (kExplicit) or "composition" of LibTorch's operations on a
  // GPU, "cpu" on the CPU.
  std::string update_path() const;

  int64_t updates() const { return optimizer_.steps(); }
  Agent& agent() { return *agent_; }
  const datasets::Normalizer& normalizer() const { return normalizer_; }

  // All that Update reads and changes: weights, moments, the sampler's position, and the options
  // that they belong to. `metadata` is kept beside them. A trainer made with the same options and
  // data that restores the file goes on as this one would, bit for bit. Restore gives the metadata
  // back, and throws FileError (datasets/file_error.h) where the file is damaged or of other
  // options.
  void Save(const std::string& path, std::map<std::string, std::string> metadata = {}) const;
  std::map<std::string, std::string> Restore(const std::string& path);

 private:
  Batch NextBatch();
  double LearningRate(int64_t update) const;
  uint64_t DropoutKey(int64_t update) const;
  void SetProductPrecision() const;
  UpdateResult UpdateOnce();
  double ComputeLossAndGradients(uint64_t dropout_key);
  void UpdateOnDevice(int64_t count, std::vector<UpdateResult>& results);

  std::shared_ptr<Agent> agent_;
  datasets::Normalizer normalizer_;
  TrainerOptions options_;
  datasets::WindowSampler sampler_;
  AdamW optimizer_;
  std::vector<datasets::Window> windows_;
  Batch batch_;  // kAutograd on the CPU: filled anew for every update
  std::unique_ptr<CpuUpdate> cpu_update_;
  std::optional<DeviceWindows> device_windows_;  // kAutograd on a GPU
  std::unique_ptr<DeviceUpdate> device_update_;  // kExplicit
};

}  // namespace cosdt::agents
