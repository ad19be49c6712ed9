#include "agents/decoding/agent_session.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <stdexcept>
#include <utility>

#include "agents/models/precision.h"

namespace cosdt::agents {
namespace {

void ExpectValues(const char* name, size_t expected, size_t found) {
  if (expected == found) return;
  throw std::invalid_argument(std::string("agent: ") + name + ": expected " +
                              std::to_string(expected) + " values, found " + std::to_string(found));
}

}  // namespace

AgentSession::AgentSession(const std::string& checkpoint, const SessionOptions& options)
    : AgentSession(ReadCheckpoint(checkpoint), options) {}

AgentSession::AgentSession(Checkpoint checkpoint, const SessionOptions& options)
    : checkpoint_(std::move(checkpoint)),
      pool_(std::make_unique<envs::ThreadPool>(options.threads)) {
  CheckComputeType(*checkpoint_.agent, options.compute_type);
  factory_ = std::make_unique<DecoderFactory>(checkpoint_.agent, options.decode, options.horizon,
                                              CpuComputeType(options.compute_type));
}

void AgentSession::Reset(std::span<const Target> targets, std::span<const uint64_t> seeds) {
  ExpectPredictorFor(targets, info().return_predictor.get());
  if (!seeds.empty()) {
    ExpectValues("seeds", agent().options().discrete_actions() > 0 ? targets.size() : 0,
                 seeds.size());
  }
  draws_.clear();
  for (const uint64_t seed : seeds) draws_.emplace_back(seed);
  decoder_ = factory_->Make(static_cast<int>(targets.size()), *pool_);
  targets_.assign(targets.begin(), targets.end());
  to_go_.resize(targets.size());
  std::ranges::transform(targets, to_go_.begin(),
                         [](const Target& t) { return t.is_auto() ? 0 : t.value(); });
  step_ = 0;
}

std::span<const double> AgentSession::Act(std::span<const double> observations,
                                          std::span<const double> rewards) {
  if (!decoder_) throw std::logic_error("agent: expected Reset before Act");
  const AgentOptions& options = agent().options();
  const size_t rows = to_go_.size();
  ExpectValues("observations", rows * options.observation_size(), observations.size());
  if (step_ > 0) {
    ExpectValues("rewards", rows, rewards.size());
    for (size_t i = 0; i < rows; ++i) to_go_[i] -= rewards[i];
  }
  observations_.assign(observations.begin(), observations.end());
  info().normalizer.Apply(observations_, observations_);
  AskForReturns();
  ++step_;
  outputs_.resize(rows * options.action_features());
  decoder_->Decide(returns_to_go_, observations_, outputs_);
  Choose();
  decoder_->Act(actions_);
  wide_actions_.assign(actions_.begin(), actions_.end());
  return wide_actions_;
}

// The returns-to-go of the rows, which have their observations.
void AgentSession::AskForReturns() {
  returns_to_go_.resize(to_go_.size());
  std::ranges::transform(to_go_, returns_to_go_.begin(),
                         [&](double x) { return static_cast<float>(x / info().return_scale); });
  if (std::ranges::none_of(targets_, &Target::is_auto)) return;
  predicted_.resize(to_go_.size());
  info().return_predictor->Predict(observations_, step_, predicted_);
  for (size_t row = 0; row < targets_.size(); ++row) {
    if (targets_[row].is_auto()) returns_to_go_[row] = predicted_[row];
  }
}

// The actions of the outputs.
void AgentSession::Choose() {
  const int64_t n = agent().options().discrete_actions();
  if (n == 0) {
    actions_ = outputs_;
    return;
  }
  actions_.resize(to_go_.size());
  for (size_t row = 0; row < actions_.size(); ++row) {
    const std::span logits = std::span(outputs_).subspan(row * n, n);
    const auto most = std::ranges::max_element(logits);
    if (draws_.empty()) {
      actions_[row] = static_cast<float>(most - logits.begin());
      continue;
    }
    std::vector<double> weights(logits.size());
    std::ranges::transform(logits, weights.begin(), [&](float x) { return std::exp(x - *most); });
    std::discrete_distribution<int> draw(weights.begin(), weights.end());
    actions_[row] = static_cast<float>(draw(draws_[row]));
  }
}

void AgentSession::Keep(std::span<const int> rows) {
  decoder_->Keep(rows);
  for (size_t i = 0; i < rows.size(); ++i) {
    to_go_[i] = to_go_[rows[i]];
    targets_[i] = targets_[rows[i]];
    if (!draws_.empty()) draws_[i] = draws_[rows[i]];
  }
  to_go_.resize(rows.size());
  targets_.erase(targets_.begin() + static_cast<ptrdiff_t>(rows.size()), targets_.end());
}

}  // namespace cosdt::agents
