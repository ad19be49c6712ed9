#include "agents/decoding/torch_stepper.h"

#include <utility>

#include "agents/models/fused_ops.h"
#include "agents/models/step_tokens.h"

namespace cosdt::agents {
namespace {

using torch::Tensor;

void CheckShape(const char* name, const Tensor& input, torch::IntArrayRef shape) {
  TORCH_CHECK_VALUE(input.defined() && input.sizes() == shape, "decoding: ", name,
                    ": expected shape ", shape, ", found ",
                    input.defined() ? input.sizes() : torch::IntArrayRef());
}

}  // namespace

TorchStepper::TorchStepper(DecisionTransformer model, int64_t batch, Tensor previous_actions)
    : model_(std::move(model)), batch_(batch), actions_(std::move(previous_actions)) {
  const DecisionTransformerOptions& options = model_->options();
  const auto type = torch::TensorOptions(model_->type()).device(model_->device());
  for (TransformerBlock& block : model_->blocks) {
    states_.push_back(
        block->attention->MakeState(batch, options.heads, options.width / options.heads, type));
  }
}

torch::Tensor TorchStepper::Embed(const Tensor& returns_to_go, const Tensor& observations,
                                  const Tensor& timesteps) {
  const auto time = [&](const Tensor& steps) {
    return model_->embed_timestep(steps.clamp(0, model_->options().max_timestep - 1));
  };
  const torch::ScalarType type = model_->type();
  const DecisionTransformerOptions& options = model_->options();
  const int64_t tokens = options.tokens;
  const Tensor actions = actions_.defined()
                             ? EncodeActions(actions_, options.discrete_actions).to(type)
                             : torch::zeros({batch_, options.action_features()},
                                            torch::TensorOptions(type).device(model_->device()));
  const Tensor of_actions = model_->embed_action(actions);
  // an action token of this step comes with the next one
  Tensor now = StackStepTokens({model_->embed_return(returns_to_go.to(type).unsqueeze(-1)),
                                model_->embed_observation(observations.to(type)), of_actions},
                               time(timesteps), tokens);
  if (!step_tokens::ReadsActionBefore(tokens)) {
    now = now.narrow(1, 0, tokens - 1);
    if (timesteps_.defined()) {
      now = torch::cat({(of_actions + time(timesteps_)).unsqueeze(1), now}, 1);
    }
  }
  return model_->embed_norm(now);
}

torch::Tensor TorchStepper::Observe(const Tensor& returns_to_go, const Tensor& observations,
                                    const Tensor& timesteps) {
  const torch::NoGradGuard no_grad;
  const DecisionTransformerOptions& options = model_->options();
  CheckShape("returns_to_go", returns_to_go, {batch_});
  CheckShape("observations", observations, {batch_, options.observation_size});
  CheckShape("timesteps", timesteps, {batch_});
  TORCH_CHECK_VALUE(!timesteps_.defined() || actions_.defined(),
                    "decoding: expected Act after Observe, found Observe");

  Tensor x = Embed(returns_to_go, observations, timesteps);
  const int64_t width = options.width, heads = options.heads, count = x.size(1);
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
  timesteps_ = timesteps.clone();
  const Tensor outputs = model_->head(model_->norm(x));
  return options.discrete_actions > 0 ? outputs : torch::tanh(outputs);
}

void TorchStepper::Act(const Tensor& actions) {
  CheckShape("actions", actions, {batch_, model_->options().action_size});
  TORCH_CHECK_VALUE(timesteps_.defined() && !actions_.defined(),
                    "decoding: expected Observe before Act, found none");
  actions_ = actions.detach().clone();
}

}  // namespace cosdt::agents
