#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "agents/models/agent.h"
#include "agents/processes/batch_share.h"
#include "agents/processes/process_group.h"
#include "agents/storage/safetensors.h"
#include "datasets/episodes.h"
#include "datasets/normalizer.h"

namespace cosdt::agents {

class CriticGuide;
struct TrainerOptions;

struct UpdateResult {
  int64_t update = 0;  // counted from 1
  double loss = 0;
  double gradient_norm = 0;  // before clipping
  double learning_rate = 0;
  // of agents with critics; none: not in this update
  std::optional<double> actor_loss = {}, value_loss = {}, q = {};
};

// Thrown if an update's loss or gradient is not finite, or a critic's value has diverged, which the
// message names.
class NotFiniteError : public std::runtime_error {
 public:
  NotFiniteError(const std::string& message, std::vector<UpdateResult> done)
      : std::runtime_error(message), done_(std::move(done)) {}

  // The updates before it that the same call did.
  const std::vector<UpdateResult>& done() const { return done_; }

 private:
  std::vector<UpdateResult> done_;
};

// Makes the updates of an agent on a dataset: Trainer from windows, CriticTrainer from transitions.
//
// The processes of a group do the same updates, each with its share of every batch and of what is
// random in it, and sum losses and gradients: all have the same bits, and those of one process
// alone to rounding.
class AgentTrainer {
 public:
  virtual ~AgentTrainer() = default;

  // `count` updates. Throws NotFiniteError.
  virtual std::vector<UpdateResult> Update(int64_t count) = 0;

  // The code that computes updates: "cpu", or on a GPU "kernels" or "composition" of LibTorch's
  // operations.
  virtual std::string update_path() const = 0;

  virtual int64_t updates() const = 0;
  virtual Agent& agent() = 0;
  const Agent& agent() const { return const_cast<AgentTrainer*>(this)->agent(); }

  // All that Update reads and changes: weights, moments, the sampler's position, and the options
  // that they belong to. `metadata` is kept with them. A trainer made with the same options and
  // data that restores the file continues as this one would, bit for bit. Restore returns the
  // metadata, and throws FileError (datasets/file_error.h) if the file is damaged or of other
  // options.
  virtual void Save(const std::string& path,
                    std::map<std::string, std::string> metadata = {}) const = 0;
  virtual std::map<std::string, std::string> Restore(const std::string& path) = 0;

  // In a group: takes all that Restore reads as rank 0 has it.
  void TakeStateOfFirst();

  // The SHA-256 of weights and moments.
  std::string Digest() const;

  // In a group: asks all to stop after the next update, which tells them. Whether any process asked
  // before the last one.
  void AskToStop(bool stop) { share_.AskToStop(stop); }
  bool is_asked_to_stop() const { return share_.is_asked_to_stop(); }

 protected:
  explicit AgentTrainer(const BatchShare& share) : share_(share) {}

  // Weights and moments.
  virtual std::vector<torch::Tensor> Arrays() const = 0;

  // Counts so many updates as done, and takes the sampler to its position behind them.
  virtual void SetUpdates(int64_t updates) = 0;

  BatchShare share_;
};

// The trainer of the agent's kind; `critic` guides agents that imitate. Throws what its constructor
// throws, and std::invalid_argument if an agent with critics is given another's.
std::unique_ptr<AgentTrainer> MakeTrainer(std::shared_ptr<Agent> agent,
                                          const datasets::Episodes& episodes,
                                          const datasets::Normalizer& normalizer,
                                          const TrainerOptions& options,
                                          std::shared_ptr<const CriticGuide> critic = nullptr,
                                          ProcessGroup* group = nullptr);

// Throws std::invalid_argument if the data have other sizes or other actions than the agent.
void ExpectDataOf(const AgentOptions& agent, const datasets::Episodes& episodes);

// Adds the agent's weights and what every state says to a trainer's own tensors, and writes it.
void WriteTrainingState(const std::string& path, Safetensors file, const Agent& agent,
                        const TrainerOptions& options, int64_t updates);

// Reads such a state into the agent's weights. Throws FileError if it is damaged or of other
// options.
struct TrainingState {
  Safetensors file;
  int64_t updates = 0;
};
TrainingState ReadTrainingState(const std::string& path, Agent& agent,
                                const TrainerOptions& options);

}  // namespace cosdt::agents
