#include "agents/decoding/decoder_factory.h"

#include <gtest/gtest.h>

#include <numeric>

#include "agents/decoding/cpu_model.h"
#include "agents/kernels/gemm.h"
#include "attention/registry.h"
#include "tests/agents/decoding/decoded_agents.h"

namespace cosdt::agents {
namespace {

using torch::Tensor;

// Actions [steps, rows, kActions]. Rows that end are given by their last step; 0 from there on.
Tensor Decode(const std::shared_ptr<Agent>& agent, DecodeMode mode, const Episodes& episodes,
              int threads = 1, const std::vector<int64_t>& last_steps = {},
              torch::ScalarType compute_type = torch::kFloat32) {
  const int64_t steps = episodes.returns_to_go.size(0), rows = episodes.returns_to_go.size(1);
  const DecoderFactory factory(agent, mode, kSteps, compute_type);
  envs::ThreadPool pool(threads);
  const auto decoder = factory.Make(static_cast<int>(rows), pool);
  Tensor actions = torch::zeros({steps, rows, kActions});
  std::vector<int64_t> running(rows);
  std::iota(running.begin(), running.end(), 0);
  for (int64_t t = 0; t < steps && !running.empty(); ++t) {
    const Tensor index = torch::tensor(running);
    const Tensor decided = torch::zeros({static_cast<int64_t>(running.size()), kActions});
    decoder->Decide(Span(episodes.returns_to_go[t].index_select(0, index)),
                    Span(episodes.observations[t].index_select(0, index)), Span(decided));
    decoder->Act(Span(decided));
    actions[t].index_copy_(0, index, decided);
    if (last_steps.empty()) continue;
    std::vector<int> kept;
    std::vector<int64_t> next;
    for (size_t i = 0; i < running.size(); ++i) {
      if (last_steps[running[i]] == t) continue;
      kept.push_back(static_cast<int>(i));
      next.push_back(running[i]);
    }
    if (next.size() < running.size() && !next.empty()) decoder->Keep(kept);
    running = next;
  }
  return actions;
}

int64_t ContextBegin(DecodeMode mode, int64_t t) {
  constexpr int64_t kHalf = kContext / 2;
  if (mode == DecodeMode::kWindow) return std::max<int64_t>(0, t - kContext + 1);
  if (mode == DecodeMode::kRecurrent || t < kHalf) return 0;
  return t / kHalf * kHalf - kHalf;
}

struct Case {
  std::string kind;
  DecodeMode mode;
  std::string feature_map = "elu";
  int64_t tokens = 3;
  double half_life = 0;
};

// Of all steps, the actions of the steps before.
Tensor Before(const Tensor& actions) {
  return torch::cat({torch::zeros_like(actions.narrow(0, 0, 1)), actions.slice(0, 0, -1)});
}

class DecoderTest : public testing::TestWithParam<Case> {
 protected:
  DecoderTest()
      : agent_(MakeAgent(SmallAgent(GetParam().kind, GetParam().feature_map, GetParam().tokens,
                                    GetParam().half_life))) {
    Roughen(*agent_);
  }

  // Whether the kind is computed in kernels of our own; those that LibTorch computes are slow.
  bool has_kernels() const { return decoding::CpuModel::Supports(agent_->options().dt); }
  int64_t steps() const { return has_kernels() ? kSteps : kContext + 4; }
  std::vector<torch::ScalarType> types() const {
    if (has_kernels() && kernels::ProcessorHasBFloat16()) {
      return {torch::kFloat32, torch::kBFloat16};
    }
    return {torch::kFloat32};
  }

  // The parallel form over each step's context, fed with the decoded actions.
  Tensor Recompute(const Agent& agent, const Episodes& episodes, const Tensor& actions) {
    AgentOptions wide = agent.options();
    wide.dt.context = kSteps;
    const std::shared_ptr<Agent> model = MakeAgent(wide);
    model->module().eval();
    const torch::NoGradGuard no_grad;
    const auto from = agent.module().named_parameters();
    for (auto& p : model->module().named_parameters()) p.value().copy_(from[p.key()]);
    Tensor expected = torch::zeros_like(actions);
    for (int64_t t = 0; t < actions.size(0); ++t) {
      const int64_t begin = ContextBegin(GetParam().mode, t);
      const auto cut = [&](const Tensor& x) { return x.slice(0, begin, t + 1).transpose(0, 1); };
      const Tensor times =
          torch::arange(begin, t + 1).unsqueeze(0).expand({actions.size(1), t + 1 - begin});
      expected[t] = model
                        ->Predict({cut(episodes.returns_to_go),
                                   cut(episodes.observations),
                                   cut(actions),
                                   times,
                                   {},
                                   cut(Before(actions))})
                        .select(1, -1);
    }
    return expected;
  }

  std::shared_ptr<Agent> agent_;
};

std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (const DecodeMode mode : kAllDecodeModes) {
    for (const auto& kind : attention::AttentionKinds()) cases.push_back({kind.name, mode});
    cases.push_back({"cosformer", mode, "relu"});
    cases.push_back({"cosformer", mode, "elu", 3, 7});
    cases.push_back({"local,cosformer", mode});
    for (const char* kind : {"cosformer", "softmax", "performer"}) {
      for (const int64_t tokens : {2, 1}) cases.push_back({kind, mode, "elu", tokens});
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Kinds, DecoderTest, testing::ValuesIn(AllCases()), [](const auto& test) {
  std::string kind = test.param.kind;
  std::ranges::replace(kind, ',', '_');
  return kind + (test.param.feature_map == "relu" ? "_relu_" : "_") +
         (test.param.half_life > 0 ? "decaying_" : "") + std::to_string(test.param.tokens) + "_" +
         DecodeModeName(test.param.mode);
});

TEST_P(DecoderTest, EqualsRecomputingTheContext) {
  const Episodes episodes(3, steps());
  const Tensor actions = Decode(agent_, GetParam().mode, episodes);
  EXPECT_LT((actions - Recompute(*agent_, episodes, actions)).abs().max().item<float>(), 1e-5);
}

TEST_P(DecoderTest, ARowDependsOnNoOtherAndNotOnThreads) {
  const Episodes episodes(40, steps());
  std::vector<int64_t> last_steps(40);
  for (int64_t row = 0; row < 40; ++row) last_steps[row] = row % 3 == 0 ? kSteps : 1 + row;
  for (const torch::ScalarType type : types()) {
    const Tensor together = Decode(agent_, GetParam().mode, episodes, 3, last_steps, type);
    for (const int64_t row : {0, 1, 33}) {
      Episodes alone(1, 1);
      alone.returns_to_go = episodes.returns_to_go.narrow(1, row, 1).contiguous();
      alone.observations = episodes.observations.narrow(1, row, 1).contiguous();
      const Tensor actions = Decode(agent_, GetParam().mode, alone, 1, {last_steps[row]}, type);
      EXPECT_TRUE(torch::equal(actions.select(1, 0), together.select(1, row))) << type;
    }
  }
}

TEST(DecoderGpuTest, DecidesAsTheCpuDoes_CUDA) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "needs a CUDA device, of which none is here";
  const Episodes episodes(3, kContext + 4);
  for (const Case& c : AllCases()) {
    const std::shared_ptr<Agent> agent = MakeAgent(SmallAgent(c.kind, c.feature_map, c.tokens));
    Roughen(*agent);
    const Tensor expected = Decode(agent, c.mode, episodes);
    agent->module().to(torch::kCUDA);
    const Tensor found = Decode(agent, c.mode, episodes);
    EXPECT_LT((found - expected).abs().max().item<float>(), 1e-3)
        << c.kind << c.feature_map << c.tokens << DecodeModeName(c.mode);
  }
}

using KernelDecoderTest = DecoderTest;

INSTANTIATE_TEST_SUITE_P(Kinds, KernelDecoderTest, testing::ValuesIn([] {
                           std::vector<Case> cases;
                           for (const std::string kind : {"cosformer", "linear", "softmax"}) {
                             for (const DecodeMode mode : kAllDecodeModes) {
                               cases.push_back({kind, mode});
                             }
                           }
                           return cases;
                         }()),
                         [](const auto& test) {
                           return test.param.kind + "_" + DecodeModeName(test.param.mode);
                         });

TEST_P(KernelDecoderTest, BFloat16IsFloat32ToItsRounding) {
  if (!kernels::ProcessorHasBFloat16()) GTEST_SKIP() << "needs a processor with AVX-512 BF16";
  const Episodes episodes(12, steps());
  const Tensor actions = Decode(agent_, GetParam().mode, episodes, 1, {}, torch::kBFloat16);
  const Tensor error = (actions - Recompute(*agent_, episodes, actions)).abs();
  EXPECT_GT(error.mean().item<float>(), 1e-5);
  EXPECT_LT(error.mean().item<float>(), 0x1p-8);
  EXPECT_LT(error.max().item<float>(), 0x1p-4);
}

// Sizes that are no whole panels or odd, more heads, gelu, no reweighting, one layer, one step.
TEST(DecoderShapesTest, AllEqualRecomputing) {
  for (const std::string kind : {"cosformer", "softmax", "linear"}) {
    for (const auto& [context, tokens] :
         {std::pair<int64_t, int64_t>{1, 3}, {1, 2}, {1, 1}, {24, 3}, {24, 1}}) {
      AgentOptions options = SmallAgent(kind, "elu", tokens);
      options.dt.context = context;
      options.dt.layers = context == 1 ? 1 : 3;
      options.dt.width = context == 1 ? 45 : 42;
      options.dt.heads = 3;
      options.dt.activation = "gelu";
      options.dt.attention.reweight = false;
      const std::shared_ptr<Agent> agent = MakeAgent(options);
      Roughen(*agent);
      const Episodes episodes(2);
      const torch::NoGradGuard no_grad;
      for (const torch::ScalarType type : {torch::kFloat32, torch::kBFloat16}) {
        if (type == torch::kBFloat16 && !kernels::ProcessorHasBFloat16()) continue;
        const Tensor actions = Decode(agent, DecodeMode::kWindow, episodes, 1, {}, type);
        const int64_t begin = kSteps - context;
        const auto cut = [&](const Tensor& x) { return x.slice(0, begin, kSteps).transpose(0, 1); };
        const Tensor times = torch::arange(kSteps - context, kSteps).unsqueeze(0).expand({2, -1});
        const Tensor expected = agent
                                    ->Predict({cut(episodes.returns_to_go),
                                               cut(episodes.observations),
                                               cut(actions),
                                               times,
                                               {},
                                               cut(Before(actions))})
                                    .select(1, -1);
        EXPECT_LT((actions[kSteps - 1] - expected).abs().max().item<float>(),
                  type == torch::kFloat32 ? 1e-5 : 0x1p-4)
            << kind << context << tokens << type;
      }
    }
  }
}

// Logits of three actions, of which any is taken.
TEST(DecoderActionsTest, DiscreteOnesEqualRecomputing) {
  constexpr int64_t kRows = 2, kChoices = 3;
  for (const std::string kind : {"cosformer", "softmax", "performer"}) {
    for (const DecodeMode mode : {DecodeMode::kWindow, DecodeMode::kRecurrent}) {
      for (const int64_t tokens : {3, 2, 1}) {
        AgentOptions options = SmallAgent(kind, "elu", tokens);
        options.dt.context = kSteps;  // both modes see the episode
        options.SetSizes(kObservations, 1, kChoices);
        const std::shared_ptr<Agent> agent = MakeAgent(options);
        Roughen(*agent);
        const Episodes episodes(kRows);
        const DecoderFactory factory(agent, mode, kSteps);
        envs::ThreadPool pool(1);
        const auto decoder = factory.Make(kRows, pool);
        Tensor logits = torch::zeros({kSteps, kRows, kChoices}),
               actions = torch::randint(kChoices, {kSteps, kRows, 1}).to(torch::kFloat32);
        for (int64_t t = 0; t < kSteps; ++t) {
          decoder->Decide(Span(episodes.returns_to_go[t]), Span(episodes.observations[t]),
                          Span(logits[t]));
          decoder->Act(Span(actions[t]));
        }
        Tensor before = Before(actions);
        before[0].fill_(kNoAction);
        const torch::NoGradGuard no_grad;
        const auto by_row = [](const Tensor& x) { return x.transpose(0, 1); };
        const Tensor times = torch::arange(kSteps).expand({kRows, kSteps});
        const Batch batch{by_row(episodes.returns_to_go),
                          by_row(episodes.observations),
                          by_row(actions),
                          times,
                          {},
                          by_row(before)};
        const Tensor expected = agent->Predict(batch);
        EXPECT_LT((by_row(logits) - expected).abs().max().item<float>(), 1e-4) << kind << tokens;
      }
    }
  }
}

TEST(DecoderFactoryTest, RefusesWhatTheAgentCannotDo) {
  AgentOptions options = SmallAgent("cosformer");
  options.dt.attention.reweight_length = 3 * kSteps;
  const auto message = [&](DecodeMode mode) -> std::string {
    try {
      DecoderFactory(MakeAgent(options), mode, kSteps);
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message(DecodeMode::kRecurrent),
            "decode: recurrent needs an agent trained with a reweight_length above 180, the tokens "
            "of an episode, found 180; staggered works with this one");
  EXPECT_EQ(message(DecodeMode::kStaggered), "");
  options.dt.context = 5;
  EXPECT_EQ(message(DecodeMode::kStaggered), "decode: staggered needs an even context, found 5");
  EXPECT_EQ(message(DecodeMode::kWindow), "");
  EXPECT_THROW(ParseDecodeMode("all"), std::invalid_argument);
}

TEST(DecoderFactoryTest, RefusesBFloat16WithoutKernels) {
  const auto message = [](const AgentOptions& options,
                          torch::ScalarType type = torch::kBFloat16) -> std::string {
    try {
      DecoderFactory(MakeAgent(options), DecodeMode::kWindow, kSteps, type);
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message(SmallAgent("softmax")), "");
  EXPECT_EQ(message(SmallAgent("softmax"), torch::kHalf),
            "precision: expected Float or BFloat16, found Half");
  EXPECT_EQ(message(SmallAgent("performer")),
            "precision: bf16 needs an agent with cosformer, linear or softmax attention, found "
            "performer");
  AgentOptions cloning;
  cloning.kind = "bc";
  cloning.SetSizes(kObservations, kActions);
  EXPECT_EQ(message(cloning),
            "precision: bf16 needs an agent with cosformer, linear or softmax attention, found "
            "behaviour cloning");
}

TEST(DecoderSizesTest, RefusesOtherSizes) {
  const DecoderFactory factory(MakeAgent(SmallAgent("cosformer")), DecodeMode::kWindow, kSteps);
  envs::ThreadPool pool(1);
  const auto decoder = factory.Make(2, pool);
  std::vector<float> two(2), ten(10), four(4);
  EXPECT_THROW(decoder->Decide(two, two, four), std::invalid_argument);
  EXPECT_THROW(decoder->Decide(ten, ten, four), std::invalid_argument);
  EXPECT_NO_THROW(decoder->Decide(two, ten, four));
  EXPECT_THROW(decoder->Act(two), std::invalid_argument);
}

TEST(DecoderAgentsTest, BehaviourCloningReadsTheObservationAloneInEveryMode) {
  AgentOptions options;
  options.kind = "bc";
  options.SetSizes(kObservations, kActions);
  const std::shared_ptr<Agent> agent = MakeAgent(options);
  agent->module().eval();
  const Episodes episodes(3);
  const torch::NoGradGuard no_grad;
  for (const DecodeMode mode : kAllDecodeModes) {
    const Tensor actions = Decode(agent, mode, episodes);
    const Tensor expected = agent->Predict({{}, episodes.observations, {}, {}, {}});
    EXPECT_LT((actions - expected).abs().max().item<float>(), 1e-6);
  }
}

// An agent of another kind: the mean of the first observations in its context, and the action
// before.
class ThirdAgent : public Agent {
 public:
  ThirdAgent() : Agent(SmallAgent("cosformer")) {}
  torch::nn::Module& module() const override { return *module_.ptr(); }
  Tensor Predict(const Batch& batch) override {
    const Tensor first = batch.observations.narrow(-1, 0, kActions).mean(1, true);
    const Tensor before = torch::constant_pad_nd(batch.actions, {0, 0, 1, -1});
    return (first + before).expand_as(batch.actions) / 2;
  }

 private:
  torch::nn::Linear module_{1, 1};
};

TEST(DecoderAgentsTest, AnAgentWithoutATransformerIsDecodedByItsWindow) {
  const auto agent = std::make_shared<ThirdAgent>();
  const Episodes episodes(3);
  const Tensor actions = Decode(agent, DecodeMode::kWindow, episodes);
  for (const int64_t t : {int64_t{0}, int64_t{1}, kContext + 7}) {
    const int64_t begin = std::max<int64_t>(0, t - kContext + 1);
    const Tensor seen = episodes.observations.slice(0, begin, t + 1).narrow(2, 0, kActions);
    const Tensor expected = (seen.mean(0) + (t > 0 ? actions[t - 1] : torch::zeros({}))) / 2;
    EXPECT_LT((actions[t] - expected).abs().max().item<float>(), 1e-6) << t;
  }
  EXPECT_THROW(DecoderFactory(agent, DecodeMode::kRecurrent, kSteps), std::invalid_argument);
}

}  // namespace
}  // namespace cosdt::agents
