#pragma once

#include <memory>
#include <span>
#include <vector>

#include "agents/models/checkpoint.h"
#include "envs/env.h"

namespace cosdt::agents {

// Chooses among the actions that an agent proposes for several returns-to-go, as QT does (arXiv
// 2405.17098, and its code, github.com/charleshsc/QT): draws one from the softmax of a trained
// critic's min(Q1, Q2), in the units of its rewards. QT's candidates vary the last return-to-go by
// noise; here those of an episode are evenly spaced from its target down to half of it, and each
// has a history of its own.
class CandidateCritic {
 public:
  // Of `candidates` returns-to-go per episode. Throws std::invalid_argument for fewer than one and
  // if the checkpoint's agent has no critics.
  CandidateCritic(const Checkpoint& critic, int candidates);

  int candidates() const { return candidates_; }

  // The part of its target that candidate i asks for: 1 of the first, 1/2 of the last.
  double Share(int i) const;

  // Throws std::invalid_argument, naming both, unless the agent reads targets and has continuous
  // actions and the critic's sizes.
  void ExpectFits(const AgentOptions& agent) const;

  // Of actions [episodes, candidates, action_size], proposed at raw observations [episodes,
  // observation_size], puts the one that `draws` [episodes] choose in the place of all candidates.
  // An episode's choice does not depend on the others. Throws std::runtime_error if a value of the
  // critic is not finite.
  void Choose(std::span<const double> observations, std::span<envs::Rng> draws,
              std::span<float> actions) const;

 private:
  std::shared_ptr<Agent> agent_;
  datasets::Normalizer normalizer_;
  int candidates_;
};

}  // namespace cosdt::agents
