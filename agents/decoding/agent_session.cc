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
      pool_(std::make_unique<envs::ThreadPool>(options.threads)),
      critic_(options.critic) {
  if (critic_) critic_->ExpectFits(agent().options());
  CheckComputeType(*checkpoint_.agent, options.compute_type);
  factory_ = std::make_unique<DecoderFactory>(checkpoint_.agent, options.decode, options.horizon,
                                              CpuComputeType(options.compute_type));
}

void AgentSession::Reset(std::span<const Target> targets, std::span<const uint64_t> seeds) {
  ExpectPredictorFor(targets, info().return_predictor.get());
  const bool chooses = candidates() > 1;
  if (chooses || !seeds.empty()) {
    const bool draws = chooses || agent().options().discrete_actions() > 0;
    ExpectValues("seeds", draws ? targets.size() : 0, seeds.size());
  }
  draws_.clear();
  for (const uint64_t seed : seeds) draws_.emplace_back(seed);
  rows_.clear();
  for (const Target& target : targets) {
    for (int i = 0; i < candidates(); ++i) {
      const double share = critic_ ? critic_->Share(i) : 1;
      rows_.push_back({target, share, target.is_auto() ? 0 : share * target.value()});
    }
  }
  decoder_ = factory_->Make(static_cast<int>(rows_.size()), *pool_);
  step_ = 0;
}

std::span<const double> AgentSession::Act(std::span<const double> observations,
                                          std::span<const double> rewards) {
  if (!decoder_) throw std::logic_error("agent: expected Reset before Act");
  const AgentOptions& options = agent().options();
  const auto n = static_cast<size_t>(candidates()), episodes = rows_.size() / n;
  const auto size = static_cast<size_t>(options.observation_size());
  ExpectValues("observations", episodes * size, observations.size());
  if (step_ > 0) {
    ExpectValues("rewards", episodes, rewards.size());
    for (size_t i = 0; i < rows_.size(); ++i) rows_[i].to_go -= rewards[i / n];
  }
  observations_.resize(rows_.size() * size);
  for (size_t i = 0; i < rows_.size(); ++i) {
    std::ranges::copy(observations.subspan(i / n * size, size),
                      observations_.begin() + static_cast<ptrdiff_t>(i * size));
  }
  info().normalizer.Apply(observations_, observations_);
  AskForReturns();
  ++step_;
  outputs_.resize(rows_.size() * options.action_features());
  decoder_->Decide(returns_to_go_, observations_, outputs_);
  Choose(observations);
  decoder_->Act(actions_);
  const auto width = static_cast<size_t>(options.action_size());
  wide_actions_.clear();
  for (size_t i = 0; i < rows_.size(); i += n) {  // that of all candidates
    const std::span action = std::span(actions_).subspan(i * width, width);
    wide_actions_.insert(wide_actions_.end(), action.begin(), action.end());
  }
  return wide_actions_;
}

// The returns-to-go of the rows, which have their observations.
void AgentSession::AskForReturns() {
  returns_to_go_.resize(rows_.size());
  std::ranges::transform(rows_, returns_to_go_.begin(), [&](const Row& row) {
    return static_cast<float>(row.to_go / info().return_scale);
  });
  if (std::ranges::none_of(rows_, &Target::is_auto, &Row::target)) return;
  predicted_.resize(rows_.size());
  info().return_predictor->Predict(observations_, step_, predicted_);
  for (size_t i = 0; i < rows_.size(); ++i) {
    if (!rows_[i].target.is_auto()) continue;
    returns_to_go_[i] = static_cast<float>(rows_[i].share * predicted_[i]);
  }
}

// The actions of the outputs.
void AgentSession::Choose(std::span<const double> observations) {
  const int64_t n = agent().options().discrete_actions();
  if (n == 0) {
    actions_ = outputs_;
    if (candidates() > 1) critic_->Choose(observations, draws_, actions_);
    return;
  }
  actions_.resize(rows_.size());
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
  std::vector<int> kept;  // of the decoder
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!draws_.empty()) draws_[i] = draws_[rows[i]];
    for (int k = 0; k < candidates(); ++k) {
      const int row = rows[i] * candidates() + k;
      rows_[kept.size()] = rows_[row];
      kept.push_back(row);
    }
  }
  decoder_->Keep(kept);
  draws_.resize(std::min(draws_.size(), rows.size()));
  rows_.erase(rows_.begin() + static_cast<ptrdiff_t>(kept.size()), rows_.end());
}

}  // namespace cosdt::agents
