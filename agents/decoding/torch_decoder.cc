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
  // outputs [rows, action_features].
  virtual Tensor Decide(const Tensor& returns_to_go, const Tensor& observations) = 0;

  // What was done, [rows, action_size].
  virtual void Act(const Tensor& actions) = 0;
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
    const Tensor none =
        torch::full({rows, options.action_size()}, options.discrete_actions() > 0 ? kNoAction : 0,
                    returns_to_go.options());
    push(previous_actions_, actions_.empty() ? none : actions_.back());
    push(actions_, none);  // which no prediction reads yet
    push(timesteps_, torch::full({rows}, step_++, returns_to_go.options().dtype(torch::kInt64)));
    const auto join = [](const std::vector<Tensor>& history) { return torch::stack(history, 1); };
    return agent_
        ->Predict({.returns_to_go = join(returns_to_go_),
                   .observations = join(observations_),
                   .actions = join(actions_),
                   .timesteps = join(timesteps_),
                   .mask = {},
                   .previous_actions = join(previous_actions_)})
        .select(1, -1);
  }

  void Act(const Tensor& actions) override { actions_.back() = actions; }

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
    Tensor outputs;
    for (int i = 0; i < schedule_.streams(); ++i) {
      const int64_t age = schedule_.Age(i, step_);
      if (age < 0) continue;
      if (age == 0) {
        streams_[i] = std::make_unique<TorchStepper>(model_, returns_to_go.size(0), actions_);
      }
      const Tensor answer = streams_[i]->Observe(returns_to_go, observations, timesteps);
      if (schedule_.Answers(i, step_)) outputs = answer;
    }
    ++step_;
    return outputs;
  }

  void Act(const Tensor& actions) override {
    for (const auto& stream : streams_) {
      if (stream) stream->Act(actions);
    }
    actions_ = actions;
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
      action_features_(agent->options().action_features()),
      slots_(rows),
      returns_to_go_(torch::zeros({block_rows_})),
      observations_(torch::zeros({block_rows_, observation_size_})),
      actions_(torch::zeros({block_rows_, action_size_})) {
  std::iota(slots_.begin(), slots_.end(), 0);
  for (int64_t row = 0; row < rows; row += block_rows_) {
    blocks_.push_back(MakeBlock(agent, mode));
  }
}

TorchDecoder::~TorchDecoder() = default;

// Calls body(block, begin, end) for the rows [begin, end) of each block.
template <class Body>
void TorchDecoder::ForBlocks(const Body& body) {
  // slots ascend: a block's rows stand together
  for (size_t begin = 0, end = 0; begin < slots_.size(); begin = end) {
    const int64_t block = slots_[begin] / block_rows_;
    while (end < slots_.size() && slots_[end] / block_rows_ == block) ++end;
    body(block, begin, end);
  }
}

// Copies rows [begin, end) of `size` values to their places in a block's input.
void TorchDecoder::Place(std::span<const float> from, int64_t size, size_t begin, size_t end,
                         const Tensor& to) const {
  for (size_t row = begin; row < end; ++row) {
    std::copy_n(from.begin() + static_cast<ptrdiff_t>(row) * size, size,
                to.data_ptr<float>() + slots_[row] % block_rows_ * size);
  }
}

void TorchDecoder::Decide(std::span<const float> returns_to_go, std::span<const float> observations,
                          std::span<float> outputs) {
  const torch::InferenceMode inference;
  ForBlocks([&](int64_t block, size_t begin, size_t end) {
    Place(returns_to_go, 1, begin, end, returns_to_go_);
    Place(observations, observation_size_, begin, end, observations_);
    const Tensor decided = blocks_[block]
                               ->Decide(returns_to_go_.to(device_), observations_.to(device_))
                               .cpu()
                               .contiguous();
    for (size_t row = begin; row < end; ++row) {
      std::copy_n(decided.const_data_ptr<float>() + slots_[row] % block_rows_ * action_features_,
                  action_features_,
                  outputs.begin() + static_cast<ptrdiff_t>(row) * action_features_);
    }
  });
}

void TorchDecoder::Act(std::span<const float> actions) {
  const torch::InferenceMode inference;
  ForBlocks([&](int64_t block, size_t begin, size_t end) {
    Place(actions, action_size_, begin, end, actions_);
    blocks_[block]->Act(actions_.to(device_, torch::kFloat32, /*non_blocking=*/false,
                                    /*copy=*/true));
  });
}

void TorchDecoder::Keep(std::span<const int> rows) {
  for (size_t i = 0; i < rows.size(); ++i) slots_[i] = slots_[rows[i]];
  slots_.resize(rows.size());
}

}  // namespace cosdt::agents
