// The Decision Transformer's forward pass for acting on the CPU: weights packed once, tokens of
// many rows side by side, and of the last block only what the last token's output needs. Equal to
// DecisionTransformerImpl::forward to rounding.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "agents/decoding/attention_cache.h"
#include "agents/models/decision_transformer.h"
#include "agents/models/step_tokens.h"

namespace cosdt::agents::decoding {

class CpuModel {
 public:
  // Copies the weights. `type`, float32 or bfloat16, is that of the blocks' matrix products;
  // embeddings, head, attention and all sums are in float32. Throws std::invalid_argument if
  // Supports is false.
  explicit CpuModel(const DecisionTransformer& model, torch::ScalarType type = torch::kFloat32);

  // Whether the attention is of one kind in all blocks, and CacheOptions knows it.
  static bool Supports(const DecisionTransformerOptions& options);

  // The inputs of one step of some rows, all at the same timestep.
  struct Step {
    const float* returns_to_go = nullptr;  // [rows]
    const float* observations = nullptr;   // [rows, observation_size]
    const float* actions = nullptr;        // [rows, action_features] of the step before, or null
    int64_t timestep = 0;
  };

  // Tokens that a step adds: the last actions' if they have one of their own, then those up to the
  // one that the next actions are predicted from.
  int64_t tokens(const Step& step) const { return step.actions ? tokens_ : deciding_tokens(); }
  int64_t tokens_per_step() const { return tokens_; }
  int64_t deciding_tokens() const { return 1 + step_tokens::DecidingToken(tokens_); }

  // Token embeddings x [rows, tokens(step), width()], in the sequence's order.
  void Embed(const Step& step, int64_t rows, float* x) const;

  // The first block's queries, keys and values [tokens, 3 columns()] of embeddings [tokens,
  // width()]: they do not depend on the tokens' context.
  void Project(const float* x, int64_t tokens, float* qkv) const;

  // Takes the next `tokens` embeddings of every row, x [rows, tokens, width()], through the blocks.
  // first[row] is what Project made of them, rows 3 columns() apart; memory(row, layer) has the
  // tokens before them. Writes the outputs [rows, action_features()] of the last token, unless
  // `outputs` is empty. x is used as scratch.
  using FindMemory = std::function<AttentionCache&(int64_t row, size_t layer)>;
  void Run(float* x, int64_t rows, int64_t tokens, std::span<float* const> first,
           const FindMemory& memory, std::span<float> outputs) const;

  const CacheOptions& form() const { return form_; }
  size_t layers() const { return blocks_.size(); }
  int64_t width() const { return Padded(width_); }  // of an embedding in memory
  int64_t columns() const { return form_.columns(); }
  int64_t observation_size() const { return observation_size_; }
  int64_t action_features() const { return action_features_; }
  int64_t discrete_actions() const { return discrete_actions_; }

 private:
  struct Norm {
    Floats gamma, beta;
    float epsilon;
  };
  struct Block {
    Norm norm_1, norm_2;
    Packed attention_in, attention_out, mlp_in, mlp_out;
  };
  struct Workspace;
  static Workspace& ThreadWorkspace();
  static Norm CopyNorm(const torch::nn::LayerNorm& norm);
  void ApplyNorm(const Norm& norm, Rows x, int64_t rows, Rows y) const;
  void ProjectNormalized(const Block& block, Rows y, int64_t tokens, int64_t begin_part,
                         Rows to) const;
  void WriteOutputs(Rows x, int64_t rows, std::span<float> outputs) const;

  int64_t tokens_, width_, observation_size_, action_features_, discrete_actions_, max_timestep_;
  CacheOptions form_;
  Epilogue activation_;
  Packed embed_return_, embed_observation_, embed_action_, head_;
  Floats times_;       // [max_timestep, width()]
  Floats no_actions_;  // zeros, for an episode's first step
  Norm embed_norm_, norm_;
  std::vector<Block> blocks_;
};

}  // namespace cosdt::agents::decoding
