// The Decision Transformer (Chen et al. 2021, arXiv 2106.01345) with a pluggable attention kind.
//
// A step is three tokens, return-to-go, observation and action, which share one learned embedding
// of the timestep. They pass LayerNorm, blocks as in GPT-2 (LayerNorm before attention and MLP,
// residual sums) and a last LayerNorm; from what then stands at the observation's token, a linear
// layer and tanh give the action. There is no other positional embedding.
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

#include "agents/models/fused_ops.h"
#include "attention/attention.h"

namespace cosdt::agents {

inline constexpr int64_t kTokensPerStep = 3;
inline constexpr int64_t kLongestContext = 1'000'000;  // steps

struct DecisionTransformerOptions {
  int64_t observation_size = 0;
  int64_t action_size = 0;
  int64_t layers = 3;
  int64_t heads = 1;
  int64_t width = 128;
  int64_t context = 20;             // K, in steps; inputs may be shorter
  std::string activation = "relu";  // of the MLP: relu, or gelu (with erf)
  double dropout = 0.1;             // of embeddings, mixed values and what is added to the residual
  int64_t max_timestep = 1000;      // timesteps are clamped to max_timestep - 1
  double timestep_std = 0.02;       // of the initial timestep embeddings; the original's: 1

  // Causal. A reweight_length of 0 stands for twice the context in tokens. cosformer's features
  // are ELU + 1 here: with the paper's ReLU, agents trained on small batches of few transitions fit
  // them more closely and play worse (experiments/results/quality).
  attention::AttentionOptions attention = {.feature_map = "elu"};

  // What agent.h asks of every kind.
  static constexpr char kName[] = "Decision Transformer";
  static constexpr bool kReadsTargets = true;
  static constexpr int64_t kTokensPerStep = agents::kTokensPerStep;

  // Throws std::invalid_argument for values out of range, c10::ValueError for the attention's.
  void Validate() const;

  // Elements of a model's parameters, and of performer's projections if `features` says how many. A
  // double, because options of a damaged file may ask for more than an integer holds.
  double WeightCount() const;
};

// Calls visit(name, field) for each field that checkpoints keep, by its name there: all but
// timestep_std, which only new weights depend on. Options are DecisionTransformerOptions, const or
// not.
template <class Options, class F>
  requires std::same_as<std::remove_const_t<Options>, DecisionTransformerOptions>
void Visit(Options& options, const F& visit) {
  visit("observation_size", options.observation_size);
  visit("action_size", options.action_size);
  visit("layers", options.layers);
  visit("heads", options.heads);
  visit("width", options.width);
  visit("context", options.context);
  visit("activation", options.activation);
  visit("dropout", options.dropout);
  visit("max_timestep", options.max_timestep);
  visit("attention", options.attention.kind);
  visit("reweight_length", options.attention.reweight_length);
  visit("reweight", options.attention.reweight);
  visit("feature_map", options.attention.feature_map);
  visit("window", options.attention.window);
  visit("features", options.attention.features);
  visit("feature_seed", options.attention.seed);
}

// One block: x + project(attend(norm(x))), then x + mlp(norm(x)).
struct TransformerBlockImpl : torch::nn::Module {
  // The attention's reweight_length must be given.
  explicit TransformerBlockImpl(const DecisionTransformerOptions& options);

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
  // original's N(0, 1) they drown what shares a token with them until training has shrunk them,
  // which takes longer than a short training run. transformers and CORL draw everything from
  // N(0, 0.02^2). Throws what Validate() throws.
  explicit DecisionTransformerImpl(DecisionTransformerOptions options);

  // The actions [B, K, action_size] predicted at every step, in (-1, 1), in the parameters' type.
  //   returns_to_go [B, K], already scaled; observations [B, K, observation_size], already
  //   normalised; actions [B, K, action_size]: in any floating type
  //   timesteps [B, K], int64: since the episode began; clamped to [0, max_timestep)
  //   mask [B, K], bool, true at real steps; undefined if there is no padding
  // K may be anything from 1 to the context. Predictions read steps up to their own and no
  // padding; what is predicted at padding is finite and means nothing. Only what the predictions
  // need is computed: of the last block, queries and all that follows for observation tokens alone.
  // Throws c10::Error naming the argument, what was expected and found.
  torch::Tensor forward(const torch::Tensor& returns_to_go, const torch::Tensor& observations,
                        const torch::Tensor& actions, const torch::Tensor& timesteps,
                        const torch::Tensor& mask = {});

  // In training mode: of dropout in the next calls of forward. The same key drops the same elements
  // (fused_ops.h).
  void set_dropout_key(uint64_t key) { dropout_ = {0, key}; }

  // Layers of dropout, each with the key Dropout::For(i).
  int64_t dropout_layers() const { return 1 + 3 * options_.layers; }

  // The type of matrix products and attention; sums, LayerNorm, embeddings and head stay in the
  // parameters' type. For training in bfloat16 with parameters in float32.
  void set_compute_type(torch::ScalarType compute_type) { compute_type_ = compute_type; }

  // As they were given, with the attention's reweight_length resolved.
  const DecisionTransformerOptions& options() const { return options_; }
  torch::ScalarType type() const { return head->weight.scalar_type(); }
  torch::Device device() const { return head->weight.device(); }

  // Whether an output of the attention reads its own query alone: then queries that nobody asks for
  // need not be computed. Flow attention's outputs read the queries before them, too.
  bool queries_are_independent() const { return options_.attention.kind != "flow"; }

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

// The training loss: the mean of (predicted - actions)^2 over the elements of all real steps.
// `mask` may be undefined.
torch::Tensor ActionLoss(const torch::Tensor& predicted, const torch::Tensor& actions,
                         const torch::Tensor& mask);

}  // namespace cosdt::agents
