#include "agents/decoding/torch_decoder.h"

#include <algorithm>
#include <numeric>

#include "agents/decoding/stream_schedule.h"
#include "agents/decoding/torch_stepper.h"

namespace cosdt::agents {

using torch::Tensor;

// A fixed number of rows, decided together.
class TorchBlock {
 public:
  virtual ~TorchBlock() = default;

  // returns_to_go [rows], observations [rows, observation_size], on the model's device; gives
  // actions [rows, action_size], which are remembered as done.
  virtual Tensor Decide(const Tensor& returns_to_go, const Tensor& observations) = 0;
};

namespace {

// Computes the agent's context again at every step.
class WindowBlock : public TorchBlock {
 public:
  explicit WindowBlock(std::shared_ptr<Agent> agent) : agent_(std::move(agent)) {}

  Tensor Decide(const Tensor& returns_to_go, const Tensor& observations) override {
    const AgentOptions& options = agent_->options();
    const auto push = [&](std::vector<Tensor>& history, const Tensor& x) {
      history.push_back(x.clone());
      if (static_cast<int64_t>(history.size()) > options.context()) history.erase(history.begin());
    };
    push(returns_to_go_, returns_to_go);
    push(observations_, observations);
    const int64_t rows = returns_to_go.size(0);
    const Tensor none = torch::zeros({rows, options.action_size()}, returns_to_go.options());
    push(previous_actions_, actions_.empty() ? none : actions_.back());
    push(actions_, none);  // which no prediction reads yet
    push(timesteps_, torch::full({rows}, step_++, returns_to_go.options().dtype(torch::kInt64)));
    const auto join = [](const std::vector<Tensor>& history) { return torch::stack(history, 1); };
    actions_.back() = agent_
                          ->Predict({.returns_to_go = join(returns_to_go_),
                                     .observations = join(observations_),
                                     .actions = join(actions_),
                                     .timesteps = join(timesteps_),
                                     .mask = {},
                                     .previous_actions = join(previous_actions_)})
                          .select(1, -1)
                          .clone();
    return actions_.back();
  }

 private:
  std::shared_ptr<Agent> agent_;
  int64_t step_ = 0;
  std::vector<Tensor> returns_to_go_, observations_, actions_, timesteps_, previous_actions_;
};

// recurrent and staggered.
class StreamBlock : public TorchBlock {
 public:
  StreamBlock(DecisionTransformer model, const decoding::StreamSchedule& schedule)
      : model_(std::move(model)), schedule_(schedule), streams_(schedule.streams()) {}

  Tensor Decide(const Tensor& returns_to_go, const Tensor& observations) override {
    const Tensor timesteps =
        torch::full_like(returns_to_go, step_, returns_to_go.options().dtype(torch::kInt64));
    Tensor actions;
    for (int i = 0; i < schedule_.streams(); ++i) {
      const int64_t age = schedule_.Age(i, step_);
      if (age < 0) continue;
      if (age == 0) {
        streams_[i] = std::make_unique<TorchStepper>(model_, returns_to_go.size(0), actions_);
      }
      const Tensor answer = streams_[i]->Observe(returns_to_go, observations, timesteps);
      if (schedule_.Answers(i, step_)) actions = answer;
    }
    for (const auto& stream : streams_) {
      if (stream) stream->Act(actions);
    }
    ++step_;
    return actions_ = actions;
  }

 private:
  DecisionTransformer model_;
  decoding::StreamSchedule schedule_;
  int64_t step_ = 0;
  std::vector<std::unique_ptr<TorchStepper>> streams_;  // null before they start
  Tensor actions_;                                      // of the last step
};

std::unique_ptr<TorchBlock> MakeBlock(const std::shared_ptr<Agent>& agent, DecodeMode mode) {
  const int64_t context = agent->options().context();
  // a context of one step is the same in every mode
  if (mode == DecodeMode::kWindow || !agent->transformer()) {
    return std::make_unique<WindowBlock>(agent);
  }
  return std::make_unique<StreamBlock>(agent->transformer(), decoding::MakeSchedule(mode, context));
}

}  // namespace

TorchDecoder::TorchDecoder(const std::shared_ptr<Agent>& agent, DecodeMode mode, int rows)
    : device_(agent->device()),
      block_rows_(device_.is_cpu() ? 32 : kMaxRows),
      observation_size_(agent->options().observation_size()),
      action_size_(agent->options().action_size()),
      slots_(rows),
      returns_to_go_(torch::zeros({block_rows_})),
      observations_(torch::zeros({block_rows_, observation_size_})) {
  std::iota(slots_.begin(), slots_.end(), 0);
  for (int64_t row = 0; row < rows; row += block_rows_) {
    blocks_.push_back(MakeBlock(agent, mode));
  }
}

TorchDecoder::~TorchDecoder() = default;

void TorchDecoder::Decide(std::span<const float> returns_to_go, std::span<const float> observations,
                          std::span<float> actions) {
  const torch::InferenceMode inference;
  // slots ascend: a block's rows stand together
  for (size_t begin = 0, end = 0; begin < slots_.size(); begin = end) {
    const int64_t block = slots_[begin] / block_rows_;
    for (end = begin; end < slots_.size() && slots_[end] / block_rows_ == block; ++end) {
      const int64_t place = slots_[end] % block_rows_;
      returns_to_go_.data_ptr<float>()[place] = returns_to_go[end];
      std::copy_n(observations.begin() + static_cast<ptrdiff_t>(end) * observation_size_,
                  observation_size_, observations_.data_ptr<float>() + place * observation_size_);
    }
    const Tensor decided = blocks_[block]
                               ->Decide(returns_to_go_.to(device_), observations_.to(device_))
                               .cpu()
                               .contiguous();
    for (size_t row = begin; row < end; ++row) {
      std::copy_n(decided.const_data_ptr<float>() + slots_[row] % block_rows_ * action_size_,
                  action_size_, actions.begin() + static_cast<ptrdiff_t>(row) * action_size_);
    }
  }
}

void TorchDecoder::Keep(std::span<const int> rows) {
  for (size_t i = 0; i < rows.size(); ++i) slots_[i] = slots_[rows[i]];
  slots_.resize(rows.size());
}

}  // namespace cosdt::agents
