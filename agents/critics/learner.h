#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>

#include "agents/critics/transitions.h"
#include "agents/mlp/learned.h"
#include "agents/models/agent.h"
#include "agents/processes/batch_share.h"

namespace cosdt::agents {

struct LearningRates {
  double critics = 3e-4;  // and value
  double actor = 3e-4;
};

// Losses of an update, computed before what they change.
struct CriticLosses {
  double critic = 0;  // mean squared Bellman errors: summed over the two critics, of IQL their mean
  std::optional<double> actor = {}, value = {};  // none: not in this update
  double q = 0;                                  // mean absolute value of the critics at the data
  double gradient_norm = 0;                      // of the critics' loss
};

// Learns the networks of an actor-critic agent, one update per batch of transitions, written out
// without autograd. float32 on the CPU, with LibTorch's threads; the bits do not depend on their
// number. Implementations follow CORL's, whose formulas they name.
class CriticLearner {
 public:
  virtual ~CriticLearner() = default;

  // One update by Adam, of this process's share of the batch. `noise` is standard normal, [rows,
  // action_size] of the batch; IQL does not read it. If the critics' losses are not good (IsGood),
  // nothing changes.
  virtual CriticLosses Update(TransitionBatch& batch, std::span<const float> noise,
                              const LearningRates& rates, double largest_q) = 0;

  // All that updates read and change, besides the agent's parameters.
  virtual NamedTensors State() const = 0;
};

// Whether losses and gradient are finite, and `q` at most `largest_q`.
bool IsGood(const CriticLosses& losses, double largest_q);

// The learner of the agent's kind, before its first update. The agent, which must be an
// actor-critic, and the share of batches must outlive it.
std::unique_ptr<CriticLearner> MakeCriticLearner(Agent& agent, BatchShare& share);

// A message of all gradients of the stacks, which move there, one behind the other, of `more`
// elements and of notes: [n + BatchShare::kNotes].
torch::Tensor MakeMessage(std::initializer_list<MlpStack*> stacks, int64_t more = 0);

}  // namespace cosdt::agents
