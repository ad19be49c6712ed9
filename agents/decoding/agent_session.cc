#include "agents/decoding/agent_session.h"

#include <algorithm>
#include <stdexcept>

namespace cosdt::agents {

AgentSession::AgentSession(const std::string& checkpoint, DecodeMode decode, int horizon)
    : checkpoint_(ReadCheckpoint(checkpoint)),
      pool_(std::make_unique<envs::ThreadPool>(1)),
      factory_(std::make_unique<DecoderFactory>(checkpoint_.agent, decode, horizon)),
      observation_(checkpoint_.agent.options().observation_size()),
      action_(checkpoint_.agent.options().action_size()),
      wide_action_(action_.size()) {}

void AgentSession::Reset(double target) {
  decoder_ = factory_->Make(1, *pool_);
  to_go_ = target;
  first_step_ = true;
}

std::span<const double> AgentSession::Act(std::span<const double> observation, double reward) {
  if (!decoder_) throw std::logic_error("agent: expected Reset before Act");
  if (observation.size() != observation_.size()) {
    throw std::invalid_argument("agent: observation: expected " +
                                std::to_string(observation_.size()) + " numbers, found " +
                                std::to_string(observation.size()));
  }
  if (!first_step_) to_go_ -= reward;
  first_step_ = false;
  std::ranges::transform(observation, observation_.begin(),
                         [](double x) { return static_cast<float>(x); });
  checkpoint_.info.normalizer.Apply(observation_, observation_);
  const auto returns_to_go = static_cast<float>(to_go_ / checkpoint_.info.return_scale);
  decoder_->Decide({&returns_to_go, 1}, observation_, action_);
  std::ranges::copy(action_, wide_action_.begin());
  return wide_action_;
}

}  // namespace cosdt::agents
