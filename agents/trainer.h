// Training by imitation of windows of a dataset, with the original Decision Transformer's recipe:
// mean squared error of actions over real steps, AdamW on all parameters, a rate that rises
// linearly and then stays, gradients clipped by their norm. Short trainings gain by a rate that
// falls in the end.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agents/adamw.h"
#include "agents/agent.h"
#include "agents/device_windows.h"
#include "agents/recorded_update.h"
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
  std::string precision = "fp32";  // or bf16: of matrix products and attention
  uint64_t seed = 0;               // of windows and dropout
  std::string windows = "any";     // or whole: not cut by an episode's end (WindowOptions)
  bool cuda_graph = false;         // the update is recorded once and replayed (RecordedUpdate)

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

// Same seed, same weights, bit for bit: on one machine, with the same number of threads (torch's).
// Where the agent is on a GPU, so is the data, and batches are assembled there.
class Trainer {
 public:
  // Takes the agent's weights as they are; episodes must outlive this object. cuda_graph with an
  // agent on the CPU computes what would be recorded, without a recording. Throws
  // std::invalid_argument where sizes do not fit, and naming the array and row where a number of
  // the data is not finite.
  Trainer(Agent agent, const datasets::Episodes& episodes, datasets::Normalizer normalizer,
          const TrainerOptions& options);
  Trainer(Trainer&&) = delete;  // a recorded update refers to what it changes

  // One update. Throws std::runtime_error naming the update where the loss or a gradient is not
  // finite; the weights are then those before it.
  UpdateResult Update();

  int64_t updates() const { return optimizer_.steps(); }
  Agent& agent() { return agent_; }
  const datasets::Normalizer& normalizer() const { return normalizer_; }

  // All that Update reads and changes: weights, moments, the sampler's position, and the options
  // that they belong to. `metadata` is kept beside them. A trainer made with the same options and
  // data that restores the file goes on as this one would, bit for bit. Restore gives the metadata
  // back, and throws FileError (datasets/hdf5_file.h) where the file is damaged or of other
  // options.
  void Save(const std::string& path, std::map<std::string, std::string> metadata = {}) const;
  std::map<std::string, std::string> Restore(const std::string& path);

 private:
  Batch NextBatch();
  double LearningRate(int64_t update) const;

  Agent agent_;
  datasets::Normalizer normalizer_;
  TrainerOptions options_;
  datasets::WindowSampler sampler_;
  AdamW optimizer_;
  std::vector<datasets::Window> windows_;
  Batch batch_;  // on the CPU, filled anew for every update
  std::optional<DeviceWindows> device_windows_;
  std::unique_ptr<RecordedUpdate> recorded_;
};

}  // namespace cosdt::agents
