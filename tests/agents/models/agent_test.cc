#include "agents/models/agent.h"

#include <gtest/gtest.h>

#include <string>

namespace cosdt::agents {
namespace {

// Checkpoints on disk have these keys.
constexpr char kTransformer[] =
    R"({"action_size":3,"activation":"gelu","attention":"performer","context":7,"discrete_actions":0,)"
    R"("dropout":0.25,)"
    R"("feature_map":"relu","feature_seed":11,"features":5,"half_life":1.5,"heads":2,"kind":"dt","layers":4,)"
    R"("max_timestep":30,"observation_size":6,"reweight":false,"reweight_length":40,"tokens":2,"width":8,)"
    R"("window":9})";
constexpr char kCloning[] =
    R"({"action_size":3,"discrete_actions":0,"kind":"bc","layers":4,"observation_size":6,"width":8})";

TEST(AgentOptionsTest, JsonIsThatOfCheckpoints) {
  AgentOptions options;
  options.dt = {.observation_size = 6,
                .action_size = 3,
                .layers = 4,
                .heads = 2,
                .width = 8,
                .context = 7,
                .tokens = 2,
                .activation = "gelu",
                .dropout = 0.25,
                .max_timestep = 30,
                .timestep_std = 5,
                .attention = {.kind = "performer",
                              .reweight_length = 40,
                              .reweight = false,
                              .feature_map = "relu",
                              .half_life = 1.5,
                              .window = 9,
                              .features = 5,
                              .seed = 11}};
  options.bc = {.observation_size = 6, .action_size = 3, .layers = 4, .width = 8};
  EXPECT_EQ(ToJson(options), kTransformer);
  options.kind = "bc";
  EXPECT_EQ(ToJson(options), kCloning);
}

TEST(AgentOptionsTest, ReadsTheJsonThatItWrites) {
  for (const char* json : {kTransformer, kCloning}) {
    EXPECT_EQ(ToJson(ParseAgentOptions("file", json)), json);
  }
  EXPECT_EQ(ParseAgentOptions("file", kTransformer).dt.timestep_std,
            DecisionTransformerOptions().timestep_std);
}

TEST(AgentOptionsTest, AnOlderCheckpointHasThreeTokensPerStepAndNoDecay) {
  std::string json = kTransformer;
  json.erase(json.find(R"("tokens":2,)"), 11);
  json.erase(json.find(R"("discrete_actions":0,)"), 21);
  json.erase(json.find(R"("half_life":1.5,)"), 16);
  EXPECT_EQ(ParseAgentOptions("file", json).dt.attention.half_life, 0);
  EXPECT_EQ(ParseAgentOptions("file", json).dt.tokens, 3);
  EXPECT_EQ(ParseAgentOptions("file", json).dt.discrete_actions, 0);
}

TEST(AgentOptionsTest, ShapeIsThatOfAllKinds) {
  AgentOptions options;
  EXPECT_EQ(options.layers(), 3);
  EXPECT_EQ(options.width(), 128);
  options.kind = "bc";
  EXPECT_EQ(options.layers(), 2);
  EXPECT_EQ(options.width(), 256);
  options.SetShape(5, 16);
  for (const char* kind : {"dt", "bc"}) {
    options.kind = kind;
    EXPECT_EQ(options.layers(), 5) << kind;
    EXPECT_EQ(options.width(), 16) << kind;
  }
}

}  // namespace
}  // namespace cosdt::agents
