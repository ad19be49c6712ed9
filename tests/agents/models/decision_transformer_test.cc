#include "agents/models/decision_transformer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention/registry.h"
#include "tests/agents/training/small_batch.h"

namespace cosdt::agents {
namespace {

using torch::Tensor;

// Every token of every block, and the head at all of them: what forward leaves out.
Tensor PredictFromEverything(DecisionTransformer& model, const SmallBatch& b) {
  const DecisionTransformerOptions& options = model->options();
  const int64_t batch = b.mask.size(0), steps = b.mask.size(1);
  std::vector<Tensor> tokens;
  for (int64_t t = 0; t < steps; ++t) {
    const Tensor time =
        model->embed_timestep(b.timesteps.select(1, t).clamp_max(options.max_timestep - 1));
    const Tensor to_go = model->embed_return(b.returns_to_go.narrow(1, t, 1));
    const Tensor seen = model->embed_observation(b.observations.select(1, t));
    Tensor actions = b.actions.select(1, t);
    if (options.discrete_actions > 0) {
      actions = torch::one_hot(actions.squeeze(-1).to(torch::kInt64), options.discrete_actions)
                    .to(b.actions.scalar_type());
    }
    const Tensor done = model->embed_action(actions);
    if (options.tokens == 1) {
      tokens.push_back(to_go + seen + done + time);
    } else if (options.tokens == 2) {
      tokens.insert(tokens.end(), {to_go + seen + time, done + time});
    } else {
      tokens.insert(tokens.end(), {to_go + time, seen + time, done + time});
    }
  }
  const Tensor key_mask = b.mask.repeat_interleave(options.tokens, 1);
  Tensor x = model->embed_norm(torch::stack(tokens, 1));
  for (TransformerBlock& block : model->blocks) {
    const std::vector<Tensor> qkv =
        block->attention_in(block->norm_1(x))
            .view({batch, -1, 3, options.heads, options.width / options.heads})
            .permute({2, 0, 3, 1, 4})
            .unbind(0);
    const Tensor mixed = block->attention(qkv[0], qkv[1], qkv[2], key_mask);
    x = x + block->attention_out(mixed.permute({0, 2, 1, 3}).reshape({batch, -1, options.width}));
    const Tensor hidden = block->mlp_in(block->norm_2(x));
    x = x + block->mlp_out(options.activation == "relu" ? hidden.relu() : torch::gelu(hidden));
  }
  const int64_t deciding = options.tokens == 3 ? 1 : 0;
  const Tensor outputs = model->head(model->norm(x));
  return (options.discrete_actions > 0 ? outputs : outputs.tanh())
      .view({batch, steps, options.tokens, -1})
      .select(2, deciding);
}

std::vector<std::string> KindNames() {
  std::vector<std::string> names;
  for (const attention::AttentionKind& kind : attention::AttentionKinds()) {
    names.push_back(kind.name);
  }
  return names;
}

class DecisionTransformerTest : public testing::TestWithParam<std::string> {
 protected:
  DecisionTransformerTest() { torch::manual_seed(3); }

  // The kind's options with 3, 2 and 1 tokens per step.
  static std::vector<DecisionTransformerOptions> EveryOptions() {
    std::vector<DecisionTransformerOptions> all(3, SmallOptions(GetParam()));
    for (int64_t i = 0; i < 3; ++i) all[i].tokens = 3 - i;
    return all;
  }

  // Far from the initial weights, which leave blocks next to nothing to do.
  static DecisionTransformer MakeModel(const DecisionTransformerOptions& options,
                                       torch::ScalarType type = torch::kFloat32) {
    DecisionTransformer model(options);
    const torch::NoGradGuard no_grad;
    for (Tensor& p : model->parameters()) p += torch::randn_like(p) * 0.2;
    model->eval();
    model->to(type);
    return model;
  }

  static Tensor Predict(DecisionTransformer& model, const SmallBatch& b) {
    return model(b.returns_to_go, b.observations, b.actions, b.timesteps, b.mask);
  }
};

INSTANTIATE_TEST_SUITE_P(Kinds, DecisionTransformerTest, testing::ValuesIn(KindNames()),
                         [](const auto& test) { return test.param; });

TEST_P(DecisionTransformerTest, LeavingOutWhatNobodyReadsChangesNothing) {
  for (const DecisionTransformerOptions& given : EveryOptions()) {
    SCOPED_TRACE(given.tokens);
    for (const char* activation : {"relu", "gelu"}) {
      DecisionTransformerOptions options = given;
      options.activation = activation;
      DecisionTransformer model = MakeModel(options, torch::kFloat64);
      const SmallBatch b = MakeSmallBatch(options, {6, 3, 1}, torch::kFloat64);
      const auto loss_and_gradients = [&](const Tensor& predicted) {
        model->zero_grad();
        const Tensor loss = ActionLoss(predicted, b.actions, b.mask);
        loss.backward();
        std::vector<Tensor> all = {loss.detach(), predicted.detach() * b.mask.unsqueeze(-1)};
        for (const Tensor& p : model->parameters()) all.push_back(p.grad().clone());
        return all;
      };
      const auto ours = loss_and_gradients(Predict(model, b));
      const auto full = loss_and_gradients(PredictFromEverything(model, b));
      for (size_t i = 0; i < ours.size(); ++i) {
        EXPECT_LT((ours[i] - full[i]).abs().max().item<double>(), 1e-12) << i;
      }
    }
  }
}

TEST_P(DecisionTransformerTest, OfDiscreteActionsTakesIndicesAndGivesLogits) {
  for (const DecisionTransformerOptions& given : EveryOptions()) {
    SCOPED_TRACE(given.tokens);
    DecisionTransformerOptions options = given;
    options.action_size = 1;
    options.discrete_actions = 4;
    DecisionTransformer model = MakeModel(options, torch::kFloat64);
    SmallBatch b = MakeSmallBatch(options, {6, 6}, torch::kFloat64);
    b.actions = torch::randint(4, {2, 6, 1}).to(torch::kFloat64);
    const Tensor logits = Predict(model, b);
    EXPECT_EQ(logits.size(2), 4);
    EXPECT_GT(logits.abs().max().item<double>(), 1);
    EXPECT_LT((logits - PredictFromEverything(model, b)).abs().max().item<double>(), 1e-12);
  }
}

TEST_P(DecisionTransformerTest, PredictionsReadNoLaterTokenAndNoPadding) {
  for (const DecisionTransformerOptions& given : EveryOptions()) {
    SCOPED_TRACE(given.tokens);
    const DecisionTransformerOptions& options = given;
    DecisionTransformer model = MakeModel(options);
    const SmallBatch b = MakeSmallBatch(options, {6, 4});
    const Tensor before = Predict(model, b);

    SmallBatch changed = b;
    const Tensor padding = ~b.mask;
    changed.returns_to_go = b.returns_to_go.masked_fill(padding, 77);
    changed.observations = b.observations.masked_fill(padding.unsqueeze(-1), -55);
    changed.actions = b.actions.masked_fill(padding.unsqueeze(-1), 33);
    changed.timesteps = b.timesteps.masked_fill(padding, 9);
    // step 3's action, unless that is the one before, and all of steps 4 and 5
    changed.actions.slice(1, options.tokens == 1 ? 4 : 3).fill_(0.9);
    changed.returns_to_go.narrow(1, 4, 2).fill_(8);
    changed.observations.narrow(1, 4, 2).fill_(8);
    changed.timesteps.narrow(1, 4, 2).fill_(3);
    const Tensor after = Predict(model, changed);

    const Tensor early = b.mask & (torch::arange(6) <= 3);
    EXPECT_TRUE(torch::equal(before.index({early}), after.index({early})));
    EXPECT_FALSE(torch::equal(before.narrow(1, 4, 2), after.narrow(1, 4, 2)));
    EXPECT_TRUE(after.isfinite().all().item<bool>());
  }
}

TEST_P(DecisionTransformerTest, TimestepsBeyondTheTableAreItsLast) {
  for (const DecisionTransformerOptions& given : EveryOptions()) {
    SCOPED_TRACE(given.tokens);
    const DecisionTransformerOptions& options = given;
    DecisionTransformer model = MakeModel(options);
    SmallBatch b = MakeSmallBatch(options, {6});
    b.timesteps.fill_(39);
    const Tensor last = Predict(model, b);
    b.timesteps.fill_(4000);
    EXPECT_TRUE(torch::equal(Predict(model, b), last));
  }
}

TEST(DecisionTransformerInitTest, DrawsTheOriginalsDistributions) {
  torch::manual_seed(1);
  DecisionTransformerOptions options = SmallOptions("cosformer");
  options.width = 128;
  options.max_timestep = 1000;
  DecisionTransformer model(options);
  const auto std = [](const Tensor& x) { return x.std().item<double>(); };
  for (const TransformerBlock& block : model->blocks) {
    for (const auto& layer :
         {block->attention_in, block->attention_out, block->mlp_in, block->mlp_out}) {
      EXPECT_NEAR(std(layer->weight), 0.02, 0.0006);
      EXPECT_TRUE(layer->bias.eq(0).all().item<bool>());
    }
  }
  EXPECT_NEAR(std(model->embed_timestep->weight), 0.02, 0.0004);
  options.timestep_std = 1;
  EXPECT_NEAR(std(DecisionTransformer(options)->embed_timestep->weight), 1, 0.02);
  // uniform within 1 / sqrt(5)
  const Tensor weight = model->embed_observation->weight.abs();
  EXPECT_LE(weight.max().item<double>(), 1 / std::sqrt(5.0));
  EXPECT_NEAR(weight.mean().item<double>(), 0.5 / std::sqrt(5.0), 0.02);
}

TEST(DecisionTransformerOptionsTest, SaysWhatIsWrong) {
  const auto message = [](auto change) -> std::string {
    DecisionTransformerOptions options = SmallOptions("cosformer");
    change(options);
    try {
      options.Validate();
    } catch (const c10::Error& e) {
      return e.what_without_backtrace();
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "";
  };
  using testing::HasSubstr;
  EXPECT_EQ(message([](auto&) {}), "");
  EXPECT_THAT(message([](auto& o) { o.width = 15; }), HasSubstr("multiple of heads = 2, found 15"));
  EXPECT_THAT(message([](auto& o) { o.activation = "tanh"; }),
              HasSubstr("relu or gelu, found tanh"));
  EXPECT_THAT(message([](auto& o) { o.dropout = 1; }), HasSubstr("[0, 1), found 1"));
  EXPECT_THAT(message([](auto& o) { o.timestep_std = -1; }), HasSubstr("timestep_std: expected"));
  EXPECT_THAT(message([](auto& o) { o.layers = 0; }), HasSubstr("layers: expected at least 1"));
  for (const int64_t tokens : {0, 4}) {
    EXPECT_THAT(message([&](auto& o) { o.tokens = tokens; }),
                HasSubstr("tokens: expected 1, 2 or 3, found " + std::to_string(tokens)));
  }
  EXPECT_THAT(message([](auto& o) { o.attention.kind = "cosine"; }), HasSubstr("cosine"));
  EXPECT_THAT(message([](auto& o) { o.attention.kind = "local,cosine"; }), HasSubstr("cosine"));
  for (const char* kinds : {"local,local,cosformer", "local,", ","}) {
    EXPECT_NE(message([&](auto& o) { o.attention.kind = kinds; }), "") << kinds;
  }
  EXPECT_THAT(message([](auto& o) { o.attention.kind = "local,local,cosformer"; }),
              HasSubstr("one kind or 2, one per block, found 3, local,local,cosformer"));
  EXPECT_EQ(message([](auto& o) { o.attention.kind = "local,cosformer"; }), "");
  EXPECT_THAT(message([](auto& o) { o.attention.half_life = 0.1; }), HasSubstr("half_life"));
  EXPECT_THAT(message([](auto& o) { o.attention.causal = false; }), HasSubstr("causal"));
  EXPECT_THAT(message([](auto& o) { o.attention.reweight_length = 17; }),
              HasSubstr("reweight_length: expected at least 18, found 17"));
  EXPECT_EQ(message([](auto& o) {
              o.tokens = 2;
              o.attention.reweight_length = 17;
            }),
            "");
}

TEST(DecisionTransformerInputsTest, SaysWhatIsWrong) {
  const DecisionTransformerOptions options = SmallOptions("cosformer");
  DecisionTransformer model(options);
  const auto message = [&](auto change) -> std::string {
    SmallBatch b = MakeSmallBatch(options, {6, 2});
    change(b);
    try {
      model(b.returns_to_go, b.observations, b.actions, b.timesteps, b.mask);
    } catch (const c10::Error& e) {
      return e.what_without_backtrace();
    }
    return "";
  };
  using testing::HasSubstr;
  EXPECT_THAT(message([](auto& b) { b.observations = torch::zeros({2, 6, 4}); }),
              HasSubstr("observations: expected shape [2, 6, 5], found [2, 6, 4]"));
  EXPECT_THAT(message([](auto& b) { b.returns_to_go = torch::zeros({2, 7}); }),
              HasSubstr("returns_to_go: expected shape [batch, 1 to 6], found [2, 7]"));
  EXPECT_THAT(message([](auto& b) { b.timesteps = Tensor(); }), HasSubstr("timesteps"));
  EXPECT_THAT(message([](auto& b) { b.mask = torch::ones({2}, torch::kBool); }),
              HasSubstr("mask: expected shape [2, 6]"));
}

}  // namespace
}  // namespace cosdt::agents
