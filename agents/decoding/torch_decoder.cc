#include "agents/decoding/torch_decoder.h"

#include <algorithm>
#include <numeric>

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

class CloningBlock : public TorchBlock {
 public:
  explicit CloningBlock(BehaviourCloning model) : model_(std::move(model)) {}
  Tensor Decide(const Tensor&, const Tensor& observations) override { return model_(observations); }

 private:
  BehaviourCloning model_;
};

class WindowBlock : public TorchBlock {
 public:
  explicit WindowBlock(DecisionTransformer model) : model_(std::move(model)) {}

  Tensor Decide(const Tensor& returns_to_go, const Tensor& observations) override {
    const DecisionTransformerOptions& options = model_->options();
    const auto push = [&](std::vector<Tensor>& history, const Tensor& x) {
      history.push_back(x.clone());
      if (static_cast<int64_t>(history.size()) > options.context) history.erase(history.begin());
    };
    push(returns_to_go_, returns_to_go);
    push(observations_, observations);
    const int64_t rows = returns_to_go.size(0);
    // which no prediction reads yet
    push(actions_, torch::zeros({rows, options.action_size}, returns_to_go.options()));
    push(timesteps_, torch::full({rows}, step_++, returns_to_go.options().dtype(torch::kInt64)));
    const auto join = [](const std::vector<Tensor>& history) { return torch::stack(history, 1); };
    actions_.back() =
        model_(join(returns_to_go_), join(observations_), join(actions_), join(timesteps_))
            .select(1, -1)
            .clone();
    return actions_.back();
  }

 private:
  DecisionTransformer model_;
  int64_t step_ = 0;
  std::vector<Tensor> returns_to_go_, observations_, actions_, timesteps_;
};

// One stream without end, or two with a period.
class StreamBlock : public TorchBlock {
 public:
  StreamBlock(const DecisionTransformer& model, int64_t period, int64_t rows) : period_(period) {
    for (int i = 0; i < (period > 0 ? 2 : 1); ++i) {
      streams_.push_back(std::make_unique<TorchStepper>(model, rows));
    }
  }

  Tensor Decide(const Tensor& returns_to_go, const Tensor& observations) override {
    const Tensor timesteps =
        torch::full_like(returns_to_go, step_, returns_to_go.options().dtype(torch::kInt64));
    std::vector<int64_t> all(static_cast<size_t>(returns_to_go.size(0)));
    std::iota(all.begin(), all.end(), 0);
    Tensor actions;
    for (size_t i = 0; i < streams_.size(); ++i) {
      const int64_t age = step_ - static_cast<int64_t>(i) * period_ / 2;
      if (age < 0) continue;
      const int64_t steps = period_ > 0 ? age % period_ : age;
      if (steps == 0) streams_[i]->Reset(all);
      const Tensor answer = streams_[i]->Observe(returns_to_go, observations, timesteps);
      if (steps >= period_ / 2 || step_ < period_ / 2) actions = answer;
    }
    for (size_t i = 0; i < streams_.size(); ++i) {
      if (step_ >= static_cast<int64_t>(i) * period_ / 2) streams_[i]->Act(actions);
    }
    ++step_;
    return actions;
  }

 private:
  int64_t period_, step_ = 0;
  std::vector<std::unique_ptr<TorchStepper>> streams_;
};

std::unique_ptr<TorchBlock> MakeBlock(const Agent& agent, DecodeMode mode, int64_t rows) {
  if (agent.bc()) return std::make_unique<CloningBlock>(agent.bc());
  if (mode == DecodeMode::kWindow) return std::make_unique<WindowBlock>(agent.dt());
  return std::make_unique<StreamBlock>(
      agent.dt(), mode == DecodeMode::kStaggered ? agent.options().dt.context : 0, rows);
}

}  // namespace

TorchDecoder::TorchDecoder(const Agent& agent, DecodeMode mode, int rows)
    : device_(agent.device()),
      block_rows_(device_.is_cpu() ? 32 : kMaxRows),
      observation_size_(agent.options().observation_size()),
      action_size_(agent.options().action_size()),
      slots_(rows),
      returns_to_go_(torch::zeros({block_rows_})),
      observations_(torch::zeros({block_rows_, observation_size_})) {
  std::iota(slots_.begin(), slots_.end(), 0);
  for (int64_t row = 0; row < rows; row += block_rows_) {
    blocks_.push_back(MakeBlock(agent, mode, block_rows_));
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
