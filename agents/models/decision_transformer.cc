#include "agents/models/decision_transformer.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "agents/models/fused_ops.h"
#include "agents/models/step_tokens.h"

namespace cosdt::agents {
namespace {

using torch::Tensor;

constexpr double kBlockStd = 0.02;  // of the initial weights

void ExpectAtLeast(const char* name, int64_t least, int64_t found) {
  if (found >= least) return;
  throw std::invalid_argument(std::string("decision transformer: ") + name +
                              ": expected at least " + std::to_string(least) + ", found " +
                              std::to_string(found));
}

void CheckInput(const char* name, const Tensor& input, torch::IntArrayRef shape) {
  TORCH_CHECK_VALUE(input.defined() && input.sizes() == shape, "decision transformer: ", name,
                    ": expected shape ", shape, ", found ",
                    input.defined() ? input.sizes() : torch::IntArrayRef());
}

void DrawBlockWeights(torch::nn::Linear& layer) {
  const torch::NoGradGuard no_grad;
  layer->weight.normal_(0, kBlockStd);
  layer->bias.zero_();
}

// [B, tokens K, ..] to [B, K, ..]
Tensor DecidingTokens(const Tensor& x, int64_t tokens) {
  return x.slice(1, step_tokens::DecidingToken(tokens), c10::nullopt, tokens);
}

// [B, L, width] to [B, heads, L, width / heads]
Tensor SplitHeads(const Tensor& x, int64_t heads) {
  return x.unflatten(-1, {heads, -1}).transpose(1, 2);
}

// [B, heads, L, width / heads] to [B, L, width]
Tensor JoinHeads(const Tensor& x) { return x.transpose(1, 2).flatten(2); }

// The attention's reweight_length, in tokens.
int64_t Reach(const DecisionTransformerOptions& options) {
  const int64_t given = options.attention.reweight_length;
  return given != 0 ? given : 2 * options.tokens * options.context;
}

struct Qkv {
  Tensor q, k, v;  // [B, L, width]
};

Qkv Project(const TransformerBlock& block, const Tensor& y) {
  const std::vector<Tensor> parts = Linear(y, block->attention_in).chunk(3, -1);
  return {parts[0], parts[1], parts[2]};
}

// Queries of deciding tokens; the others are zeros.
Qkv ProjectDecidingQueries(const TransformerBlock& block, const Tensor& y, int64_t tokens) {
  const Tensor& weight = block->attention_in->weight;
  const Tensor& bias = block->attention_in->bias;
  const int64_t width = weight.size(1);
  const Tensor q =
      Linear(DecidingTokens(y, tokens), weight.narrow(0, 0, width), bias.narrow(0, 0, width));
  const std::vector<Tensor> kv =
      Linear(y, weight.narrow(0, width, 2 * width), bias.narrow(0, width, 2 * width)).chunk(2, -1);
  std::vector<Tensor> of_step(static_cast<size_t>(tokens), torch::zeros_like(q));
  of_step[static_cast<size_t>(step_tokens::DecidingToken(tokens))] = q;
  return {torch::stack(of_step, 2).flatten(1, 2), kv[0], kv[1]};
}

}  // namespace

void DecisionTransformerOptions::Validate() const {
  ExpectAtLeast("observation_size", 1, observation_size);
  ValidateActions("decision transformer", action_size, discrete_actions);
  ExpectAtLeast("layers", 1, layers);
  ExpectAtLeast("heads", 1, heads);
  ExpectAtLeast("width", 1, width);
  ExpectAtLeast("context", 1, context);
  if (context > kLongestContext) {
    throw std::invalid_argument("decision transformer: context: expected at most " +
                                std::to_string(kLongestContext) + ", found " +
                                std::to_string(context));
  }
  if (tokens < 1 || tokens > 3) {
    throw std::invalid_argument("decision transformer: tokens: expected 1, 2 or 3, found " +
                                std::to_string(tokens));
  }
  ExpectAtLeast("max_timestep", 1, max_timestep);
  if (width % heads != 0) {
    throw std::invalid_argument("decision transformer: width: expected a multiple of heads = " +
                                std::to_string(heads) + ", found " + std::to_string(width));
  }
  if (activation != "relu" && activation != "gelu") {
    throw std::invalid_argument("decision transformer: activation: expected relu or gelu, found " +
                                activation);
  }
  if (!(dropout >= 0 && dropout < 1)) {
    throw std::invalid_argument(
        "decision transformer: dropout: expected a value in [0, 1), found " +
        std::to_string(dropout));
  }
  if (!(timestep_std >= 0 && std::isfinite(timestep_std))) {
    throw std::invalid_argument(
        "decision transformer: timestep_std: expected a value, 0 or more, found " +
        std::to_string(timestep_std));
  }
  if (!attention.causal) {
    throw std::invalid_argument(
        "decision transformer: attention: expected causal, found not causal");
  }
  const auto kinds = static_cast<int64_t>(attention_kinds().size());
  if (kinds != 1 && kinds != layers) {
    throw std::invalid_argument("decision transformer: attention: expected one kind or " +
                                std::to_string(layers) + ", one per block, found " +
                                std::to_string(kinds) + ", " + attention.kind);
  }
  for (int64_t block = 0; block < kinds; ++block) {
    const attention::AttentionOptions own = BlockAttention(block);
    own.Validate();
    if (own.kind == "cosformer" && own.reweight) {
      ExpectAtLeast("reweight_length", tokens * context, own.reweight_length);
    }
  }
}

std::vector<std::string> DecisionTransformerOptions::attention_kinds() const {
  std::vector<std::string> kinds(1);
  for (const char c : attention.kind) {
    if (c == ',') {
      kinds.emplace_back();
    } else {
      kinds.back() += c;
    }
  }
  return kinds;
}

attention::AttentionOptions DecisionTransformerOptions::BlockAttention(int64_t block) const {
  attention::AttentionOptions own = attention;
  const std::vector<std::string> kinds = attention_kinds();
  own.kind = kinds[kinds.size() == 1 ? 0 : static_cast<size_t>(block)];
  own.reweight_length = Reach(*this);
  return own;
}

double DecisionTransformerOptions::WeightCount() const {
  const auto w = static_cast<double>(width), actions = static_cast<double>(action_features());
  const double embeddings = static_cast<double>(max_timestep) + 2 +
                            static_cast<double>(observation_size) + 1 + actions + 1;
  constexpr double kNorm = 2;  // a norm's weight and bias
  double block = 12 * w * w + (9 + 2 * kNorm) * w;
  const std::vector<std::string> kinds = attention_kinds();
  const double performers = static_cast<double>(std::ranges::count(kinds, "performer")) /
                            static_cast<double>(kinds.size());  // per block
  block += performers * static_cast<double>(attention.features) * w / static_cast<double>(heads);
  return (embeddings + 2 * kNorm) * w + static_cast<double>(layers) * block + (w + 1) * actions;
}

TransformerBlockImpl::TransformerBlockImpl(const DecisionTransformerOptions& options, int64_t block)
    : norm_1(torch::nn::LayerNormOptions({options.width})),
      norm_2(torch::nn::LayerNormOptions({options.width})),
      attention_in(options.width, 3 * options.width),
      attention_out(options.width, options.width),
      mlp_in(options.width, 4 * options.width),
      mlp_out(4 * options.width, options.width),
      attention(options.BlockAttention(block), options.width / options.heads) {
  register_module("norm_1", norm_1);
  register_module("attention_in", attention_in);
  register_module("attention", attention);
  register_module("attention_out", attention_out);
  register_module("norm_2", norm_2);
  register_module("mlp_in", mlp_in);
  register_module("mlp_out", mlp_out);
  for (torch::nn::Linear* layer : {&attention_in, &attention_out, &mlp_in, &mlp_out}) {
    DrawBlockWeights(*layer);
  }
}

DecisionTransformerImpl::DecisionTransformerImpl(DecisionTransformerOptions options)
    : options_(std::move(options)) {
  options_.Validate();
  options_.attention.reweight_length = Reach(options_);
  const int64_t width = options_.width;
  embed_timestep =
      register_module("embed_timestep", torch::nn::Embedding(options_.max_timestep, width));
  {
    const torch::NoGradGuard no_grad;
    embed_timestep->weight.mul_(options_.timestep_std);
  }
  embed_return = register_module("embed_return", torch::nn::Linear(1, width));
  embed_observation =
      register_module("embed_observation", torch::nn::Linear(options_.observation_size, width));
  embed_action =
      register_module("embed_action", torch::nn::Linear(options_.action_features(), width));
  embed_norm =
      register_module("embed_norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})));
  torch::nn::ModuleList list;
  for (int64_t i = 0; i < options_.layers; ++i) {
    blocks.emplace_back(options_, i);
    list->push_back(blocks.back());
  }
  register_module("blocks", list);
  norm = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})));
  head = register_module("head", torch::nn::Linear(width, options_.action_features()));
}

torch::Tensor DecisionTransformerImpl::forward(const Tensor& returns_to_go,
                                               const Tensor& observations, const Tensor& actions,
                                               const Tensor& timesteps, const Tensor& mask) {
  TORCH_CHECK_VALUE(returns_to_go.defined() && returns_to_go.dim() == 2 &&
                        returns_to_go.size(1) >= 1 && returns_to_go.size(1) <= options_.context,
                    "decision transformer: returns_to_go: expected shape [batch, 1 to ",
                    options_.context, "], found ",
                    returns_to_go.defined() ? returns_to_go.sizes() : torch::IntArrayRef());
  const int64_t batch = returns_to_go.size(0), steps = returns_to_go.size(1);
  CheckInput("observations", observations, {batch, steps, options_.observation_size});
  CheckInput("actions", actions, {batch, steps, options_.action_size});
  CheckInput("timesteps", timesteps, {batch, steps});
  if (mask.defined()) CheckInput("mask", mask, {batch, steps});

  const Tensor time = embed_timestep(timesteps.clamp(0, options_.max_timestep - 1));
  const Tensor tokens =
      StackStepTokens({embed_return(returns_to_go.to(type()).unsqueeze(-1)),
                       embed_observation(observations.to(type())),
                       embed_action(EncodeActions(actions, options_.discrete_actions).to(type()))},
                      time, options_.tokens)
          .flatten(1, 2);
  Tensor key_mask;
  if (mask.defined()) {
    key_mask = mask.unsqueeze(-1).expand({batch, steps, options_.tokens}).reshape({batch, -1});
  }

  Dropout dropout = dropout_;
  dropout.p = is_training() ? options_.dropout : 0;
  uint64_t layer = 0;
  const int64_t heads = options_.heads;
  // x is the residual stream, y the output of the LayerNorm before the next layer
  auto [x, y] = AddNorm({}, embed_norm(tokens).to(compute_type_.value_or(type())),
                        dropout.For(layer++), blocks.front()->norm_1);
  for (size_t i = 0; i < blocks.size(); ++i) {
    TransformerBlock& block = blocks[i];
    const bool last = i + 1 == blocks.size();
    const Qkv qkv = last && queries_are_independent()
                        ? ProjectDecidingQueries(block, y, options_.tokens)
                        : Project(block, y);
    Tensor mixed = JoinHeads(block->attention(SplitHeads(qkv.q, heads), SplitHeads(qkv.k, heads),
                                              SplitHeads(qkv.v, heads), key_mask));
    if (last) {
      mixed = DecidingTokens(mixed, options_.tokens);
      x = DecidingTokens(x, options_.tokens);
    }
    const Tensor attended = Linear(Drop(mixed, dropout.For(layer++)), block->attention_out);
    std::tie(x, y) = AddNorm(x, attended, dropout.For(layer++), block->norm_2);
    const Tensor thought = Mlp(y, block->mlp_in, block->mlp_out, options_.activation);
    std::tie(x, y) = AddNorm(x, thought, dropout.For(layer++), last ? norm : blocks[i + 1]->norm_1);
  }
  const Tensor outputs = head(y.to(type()));
  return options_.discrete_actions > 0 ? outputs : torch::tanh(outputs);
}

torch::Tensor StackStepTokens(const std::vector<Tensor>& inputs, const Tensor& time,
                              int64_t tokens) {
  std::vector<Tensor> sums(static_cast<size_t>(tokens));
  for (size_t i = 0; i < inputs.size(); ++i) {
    Tensor& sum = sums[static_cast<size_t>(step_tokens::TokenOf(static_cast<int>(i), tokens))];
    sum = sum.defined() ? sum + inputs[i] : inputs[i];
  }
  for (Tensor& sum : sums) sum = sum + time;
  return torch::stack(sums, -2);
}

}  // namespace cosdt::agents
