// The Decision Transformer (Chen et al. 2021, arXiv 2106.01345) with a pluggable attention kind.
//
// A step is three tokens, return-to-go, observation and action, or fewer (step_tokens.h), which
// share one learned embedding of the timestep. They pass LayerNorm, blocks as in GPT-2 (LayerNorm
// before attention and MLP, residual sums) and a last LayerNorm; a linear layer and tanh turn the
// deciding token's output into the action. There is no other positional embedding.
//
// Equal to transformers' DecisionTransformerModel with softmax attention (hf_checkpoint.h). Where
// the original drops single attention weights, which has no form in linear time, the mixed values
// are dropped instead.
#pragma once

#include <torch/torch.h>

#include <concepts>
#include <optional>
#include <string>
#include <vector>

#include "agents/models/actions.h"
#include "agents/models/fused_ops.h"
#include "agents/models/shared_options.h"
#include "agents/models/step_tokens.h"
#include "agents/storage/option_name.h"
#include "attention/attention.h"

namespace cosdt::agents {

inline constexpr int64_t kLongestContext = 1'000'000;  // steps

struct DecisionTransformerOptions {
  int64_t observation_size = 0;
  int64_t action_size = 0;
  int64_t discrete_actions = 0;  // n of Discrete(n) (actions.h), 0: continuous
  int64_t layers = 3;
  int64_t heads = 1;
  int64_t width = 128;
  int64_t context = 20;             // K, in steps; inputs may be shorter
  int64_t tokens = 3;               // per step: 3, 2 or 1 (step_tokens.h)
  std::string activation = "relu";  // of the MLP: relu, or gelu (with erf)
  double dropout = 0.1;             // of embeddings, mixed values and the residual's summands
  int64_t max_timestep = 1000;      // timesteps are clamped to max_timestep - 1
  double timestep_std = 0.02;       // of the initial timestep embeddings; the original's: 1

  // Causal. A reweight_length of 0 stands for twice the context in tokens. cosformer's features
  // are ELU + 1 here: with the paper's ReLU, agents trained on small batches of few transitions fit
  // them more closely and play worse (experiments/results/quality).
  // `kind` is a name, or one per block: "local,cosformer,cosformer".
  attention::AttentionOptions attention = {.feature_map = "elu"};

  // The interface of every kind (agent.h).
  static constexpr char kName[] = "Decision Transformer";
  static constexpr bool kReadsTargets = true;
  int64_t tokens_per_step() const { return tokens; }
  int64_t action_features() const { return ActionFeatures(action_size, discrete_actions); }
  bool reads_previous_actions() const { return step_tokens::ReadsActionBefore(tokens); }

  // The attention's kinds: one, or one per block.
  std::vector<std::string> attention_kinds() const;
  // The attention of a block in [0, layers), with its reweight_length given.
  attention::AttentionOptions BlockAttention(int64_t block) const;

  // Throws std::invalid_argument for values out of range, c10::ValueError for the attention's.
  void Validate() const;

  // Elements of a model's parameters, and of performer's projections if `features` says how many. A
  // double, because options of a damaged file may ask for more than an integer holds.
  double WeightCount() const;
};

// Calls visit(OptionName, field) for every field: the table for flags, TOML and checkpoints, which
// do not keep timestep_std, because only new weights depend on it.
template <class Options, class Visitor>
  requires std::same_as<std::remove_const_t<Options>, DecisionTransformerOptions>
void Visit(Options& o, const Visitor& visit) {
  auto& attention = o.attention;
  visit(OptionName{"observation_size"}, o.observation_size);
  visit(OptionName{"action_size"}, o.action_size);
  visit(OptionName{.key = "discrete_actions", .added_later = true}, o.discrete_actions);
  visit(OptionName{"attention", "attention",
                   "attention: cosformer, softmax, linear, performer, local, flow, identity, or a "
                   "list with one per block: local,cosformer,cosformer"},
        attention.kind);
  visit(
      OptionName{"reweight_length", "reweight-length",
                 "cosformer: distance M in tokens at which its weight is 0 (0: twice the context)"},
      attention.reweight_length);
  visit(OptionName{"reweight", "reweight", "cosformer: weight tokens by distance", true},
        attention.reweight);
  visit(
      OptionName{"feature_map", "feature-map",
                 "cosformer: feature map of queries and keys, elu (ELU + 1) or relu (the paper's)"},
      attention.feature_map);
  visit(OptionName{.key = "half_life",
                   .flag = "half-life",
                   .help = "cosformer: tokens of distance in which weights also halve in the first "
                           "head, twice as many in each one after it (0: no decay)",
                   .added_later = true},
        attention.half_life);
  visit(OptionName{"window", "local-window", "local attention: tokens that each token attends to"},
        attention.window);
  visit(OptionName{"features", "performer-features",
                   "performer: number of random features (0: d ln d)"},
        attention.features);
  visit(OptionName{"feature_seed"}, attention.seed);
  visit(OptionName{"context", "context", "context length K in steps"}, o.context);
  visit(
      OptionName{.key = "tokens",
                 .flag = "tokens",
                 .help = "tokens per step: 3 (return-to-go; observation; action), 2 (return-to-go "
                         "and observation; action) or 1 (both and the previous action)",
                 .added_later = true},
      o.tokens);
  visit(kLayersOption, o.layers);
  visit(OptionName{"heads", "heads", "number of attention heads"}, o.heads);
  visit(kWidthOption, o.width);
  visit(OptionName{"activation", "activation", "activation of the MLPs: relu or gelu"},
        o.activation);
  visit(OptionName{"dropout", "dropout", "dropout probability"}, o.dropout);
  visit(
      OptionName{"max_timestep", "max-timestep",
                 "size of the timestep embedding table (0: 1000, or the task's horizon if longer)",
                 true},
      o.max_timestep);
  visit(OptionName{nullptr, "timestep-std",
                   "standard deviation of the initial timestep embeddings (the original: 1)", true},
        o.timestep_std);
}

// One block: x + project(attend(norm(x))), then x + mlp(norm(x)).
struct TransformerBlockImpl : torch::nn::Module {
  TransformerBlockImpl(const DecisionTransformerOptions& options, int64_t block);

  torch::nn::LayerNorm norm_1, norm_2;
  torch::nn::Linear attention_in;   // to queries, keys and values, [3 width, width]
  torch::nn::Linear attention_out;  // [width, width]
  torch::nn::Linear mlp_in;         // [4 width, width]
  torch::nn::Linear mlp_out;        // [width, 4 width]
  attention::Attention attention;
};
TORCH_MODULE(TransformerBlock);

// Parameters are named as they are registered here and in the blocks; checkpoints use these names.
class DecisionTransformerImpl : public torch::nn::Module {
 public:
  // Draws the weights from torch's generator as the original does: weights of the blocks' linear
  // layers N(0, 0.02^2) and their biases 0; embeddings and head by PyTorch's defaults (linear
  // layers uniform within 1 / sqrt(inputs)). Timestep embeddings are N(0, timestep_std^2): at the
  // original's N(0, 1) they drown the values that share a token with them until training has shrunk
  // them, which takes longer than a short training run. transformers and CORL draw everything from
  // N(0, 0.02^2). Throws what Validate() throws.
  explicit DecisionTransformerImpl(DecisionTransformerOptions options);

  // The actions [B, K, action_size] predicted at every step, in (-1, 1), or logits [B, K,
  // discrete_actions], in the parameters' type.
  //   returns_to_go [B, K], already scaled; observations [B, K, observation_size], already
  //   normalised; actions [B, K, action_size], with one token per step those of the steps before:
  //   in any floating type
  //   timesteps [B, K], int64: since the episode began; clamped to [0, max_timestep)
  //   mask [B, K], bool, true at real steps; undefined if there is no padding
  // K may be anything from 1 to the context. Predictions read steps up to their own and no
  // padding; predictions at padding are finite and mean nothing. Only what the predictions
  // need is computed: in the last block, queries and all that follows for deciding tokens alone.
  // Throws c10::Error naming the argument, what was expected and found.
  torch::Tensor forward(const torch::Tensor& returns_to_go, const torch::Tensor& observations,
                        const torch::Tensor& actions, const torch::Tensor& timesteps,
                        const torch::Tensor& mask = {});

  // In training mode: of dropout in the next calls of forward. The same key drops the same elements
  // (fused_ops.h) of a batch, of which these calls are given the sequences from `first` on.
  void set_dropout_key(uint64_t key, int64_t first = 0) { dropout_ = {0, key, first}; }

  // Layers of dropout, each with the key Dropout::For(i).
  int64_t dropout_layers() const { return 1 + 3 * options_.layers; }

  // The type of matrix products and attention; sums, LayerNorm, embeddings and head stay in the
  // parameters' type. For training in bfloat16 with parameters in float32.
  void set_compute_type(torch::ScalarType compute_type) { compute_type_ = compute_type; }

  // As they were given, with the attention's reweight_length resolved.
  const DecisionTransformerOptions& options() const { return options_; }
  torch::ScalarType type() const { return head->weight.scalar_type(); }
  torch::Device device() const { return head->weight.device(); }

  // Whether an output of the last block's attention reads its own query alone: then unused queries
  // need not be computed. Flow attention's outputs read the queries before them, too.
  bool queries_are_independent() const { return options_.attention_kinds().back() != "flow"; }

  torch::nn::Embedding embed_timestep{nullptr};
  torch::nn::Linear embed_return{nullptr}, embed_observation{nullptr}, embed_action{nullptr};
  torch::nn::LayerNorm embed_norm{nullptr};
  std::vector<TransformerBlock> blocks;  // registered as "blocks.0", "blocks.1", ..
  torch::nn::LayerNorm norm{nullptr};
  torch::nn::Linear head{nullptr};

 private:
  DecisionTransformerOptions options_;
  Dropout dropout_;  // p is the options'
  std::optional<torch::ScalarType> compute_type_;
};
TORCH_MODULE(DecisionTransformer);

// A step's tokens [.., tokens, width] from the embeddings [.., width] of its inputs, in the order
// of step_tokens.h, and of its timestep.
torch::Tensor StackStepTokens(const std::vector<torch::Tensor>& inputs, const torch::Tensor& time,
                              int64_t tokens);

}  // namespace cosdt::agents
