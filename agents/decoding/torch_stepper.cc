#include "agents/decoding/torch_stepper.h"

#include <set>
#include <utility>

#include "agents/models/fused_ops.h"

namespace cosdt::agents {
namespace {

using torch::Tensor;

void CheckShape(const char* name, const Tensor& input, torch::IntArrayRef shape) {
  TORCH_CHECK_VALUE(input.defined() && input.sizes() == shape, "decoding: ", name,
                    ": expected shape ", shape, ", found ",
                    input.defined() ? input.sizes() : torch::IntArrayRef());
}

}  // namespace

TorchStepper::TorchStepper(DecisionTransformer model, int64_t batch)
    : model_(std::move(model)), batch_(batch) {
  const DecisionTransformerOptions& options = model_->options();
  const auto type = torch::TensorOptions(model_->type()).device(model_->device());
  for (TransformerBlock& block : model_->blocks) {
    states_.push_back(
        block->attention->MakeState(batch, options.heads, options.width / options.heads, type));
  }
}

torch::Tensor TorchStepper::Observe(const Tensor& returns_to_go, const Tensor& observations,
                                    const Tensor& timesteps) {
  const torch::NoGradGuard no_grad;
  const DecisionTransformerOptions& options = model_->options();
  CheckShape("returns_to_go", returns_to_go, {batch_});
  CheckShape("observations", observations, {batch_, options.observation_size});
  CheckShape("timesteps", timesteps, {batch_});
  if (timesteps_.defined() && !actions_.defined()) {
    const std::set<int64_t> anew(resets_.begin(), resets_.end());
    TORCH_CHECK_VALUE(static_cast<int64_t>(anew.size()) == batch_,
                      "decoding: expected Act (or Reset of all rows) after Observe, found Observe");
    for (const auto& state : states_) state->Reset(resets_);
    resets_.clear();
  }

  const auto time = [&](const Tensor& steps) {
    return model_->embed_timestep(steps.clamp(0, options.max_timestep - 1));
  };
  const torch::ScalarType type = model_->type();
  std::vector<Tensor> tokens;
  if (actions_.defined()) {
    tokens.push_back(model_->embed_action(actions_.to(type)) + time(timesteps_));
  }
  const Tensor now = time(timesteps);
  tokens.push_back(model_->embed_return(returns_to_go.to(type).unsqueeze(-1)) + now);
  tokens.push_back(model_->embed_observation(observations.to(type)) + now);
  Tensor x = model_->embed_norm(torch::stack(tokens, 1));

  const int64_t width = options.width, heads = options.heads;
  const auto count = static_cast<int64_t>(tokens.size());
  for (size_t layer = 0; layer < states_.size(); ++layer) {
    TransformerBlock block = model_->blocks[layer];
    const bool last = layer + 1 == states_.size();
    const Tensor y = block->norm_1(x);
    Tensor q, kv;
    if (last && model_->queries_are_independent()) {
      const Tensor& weight = block->attention_in->weight;
      const Tensor& bias = block->attention_in->bias;
      q = torch::linear(y.select(1, count - 1), weight.narrow(0, 0, width),
                        bias.narrow(0, 0, width))
              .unsqueeze(1)
              .expand({-1, count, -1});
      kv = torch::linear(y, weight.narrow(0, width, 2 * width), bias.narrow(0, width, 2 * width));
    } else {
      const Tensor qkv = block->attention_in(y);
      q = qkv.narrow(-1, 0, width);
      kv = qkv.narrow(-1, width, 2 * width);
    }
    const auto token = [&](const Tensor& all, int64_t part, int64_t t) {
      return all.select(1, t).narrow(-1, part * width, width).unflatten(-1, {heads, -1});
    };
    std::vector<Tensor> mixed;
    for (int64_t t = 0; t < count; ++t) {
      mixed.push_back(states_[layer]->Step(token(q, 0, t), token(kv, 0, t), token(kv, 1, t)));
      if (t == 0 && actions_.defined() && !resets_.empty()) states_[layer]->Reset(resets_);
    }
    Tensor out;
    if (last) {
      x = x.select(1, count - 1);
      out = mixed.back().flatten(1);
    } else {
      out = torch::stack(mixed, 1).flatten(2);
    }
    x = x + block->attention_out(out);
    x = x + Mlp(block->norm_2(x), block->mlp_in, block->mlp_out, options.activation);
  }
  actions_ = Tensor();
  resets_.clear();
  timesteps_ = timesteps.clone();
  return torch::tanh(model_->head(model_->norm(x)));
}

void TorchStepper::Act(const Tensor& actions) {
  CheckShape("actions", actions, {batch_, model_->options().action_size});
  TORCH_CHECK_VALUE(timesteps_.defined() && !actions_.defined(),
                    "decoding: expected Observe before Act, found none");
  actions_ = actions.detach().clone();
}

void TorchStepper::Reset(const std::vector<int64_t>& rows) {
  for (const int64_t row : rows) {
    TORCH_CHECK_INDEX(row >= 0 && row < batch_, "decoding: row must be in [0, ", batch_,
                      "), found ", row);
  }
  if (timesteps_.defined()) resets_.insert(resets_.end(), rows.begin(), rows.end());
}

std::unique_ptr<TorchStepper> TorchStepper::Copy() const {
  auto copy = std::make_unique<TorchStepper>(model_, batch_);
  for (size_t i = 0; i < states_.size(); ++i) copy->states_[i] = states_[i]->Copy();
  copy->actions_ = actions_;  // neither is ever changed in place
  copy->timesteps_ = timesteps_;
  copy->resets_ = resets_;
  return copy;
}

int64_t TorchStepper::bytes() const {
  int64_t sum = 0;
  for (const auto& state : states_) sum += state->bytes();
  return sum;
}

}  // namespace cosdt::agents
