#include "agents/training/agent_trainer.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "agents/models/checkpoint.h"
#include "agents/training/critic_trainer.h"
#include "agents/training/trainer.h"
#include "datasets/file_error.h"
#include "datasets/sha256.h"

namespace cosdt::agents {
namespace {

constexpr char kStateFormat[] = "cosdt-training-1";

std::string TrainerJson(const TrainerOptions& options) {
  nlohmann::json object;
  Visit(options, [&](const OptionName& name, const auto& field) { object[name.key] = field; });
  return object.dump();
}

}  // namespace

std::unique_ptr<AgentTrainer> MakeTrainer(std::shared_ptr<Agent> agent,
                                          const datasets::Episodes& episodes,
                                          const datasets::Normalizer& normalizer,
                                          const TrainerOptions& options,
                                          std::shared_ptr<const CriticGuide> critic,
                                          ProcessGroup* group) {
  if (critic && agent->options().has_critics()) {
    throw std::invalid_argument("critic: expected a dt or bc agent to guide, found " +
                                agent->options().name());
  }
  if (agent->options().has_critics()) {
    return std::make_unique<CriticTrainer>(std::move(agent), episodes, normalizer, options, group);
  }
  return std::make_unique<Trainer>(std::move(agent), episodes, normalizer, options,
                                   UpdatePath::kOfDevice, std::move(critic), group);
}

void AgentTrainer::TakeStateOfFirst() {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> arrays = Arrays();
  for (const torch::Tensor& buffer : agent().module().buffers()) arrays.push_back(buffer);
  for (torch::Tensor& array : arrays) {
    const torch::Tensor bytes = array.cpu().contiguous();
    share_.group()->Broadcast(bytes);
    array.copy_(bytes);
  }
  const torch::Tensor done = torch::full({1}, updates(), torch::kInt64);
  share_.group()->Broadcast(done);
  SetUpdates(done.item<int64_t>());
}

std::string AgentTrainer::Digest() const {
  datasets::Sha256 digest;
  for (const torch::Tensor& array : Arrays()) {
    const torch::Tensor bytes = array.cpu().contiguous();
    digest.Add({static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes()});
  }
  return digest.Finish();
}

void ExpectDataOf(const AgentOptions& agent, const datasets::Episodes& episodes) {
  const auto sizes = [](int64_t observations, int64_t actions) {
    return std::to_string(observations) + " observations and " + std::to_string(actions) +
           " actions";
  };
  const std::string expected = sizes(agent.observation_size(), agent.action_size()),
                    found = sizes(episodes.observation_size, episodes.action_size);
  if (expected != found) {
    throw std::invalid_argument("training: data: expected " + expected + ", found " + found);
  }
  if (episodes.discrete_actions != agent.discrete_actions()) {
    throw std::invalid_argument("training: data: expected discrete_actions " +
                                std::to_string(agent.discrete_actions()) + ", found " +
                                std::to_string(episodes.discrete_actions));
  }
}

// Every update takes as many windows or transitions, so that their number is the sampler's
// position.
void WriteTrainingState(const std::string& path, Safetensors file, const Agent& agent,
                        const TrainerOptions& options, int64_t updates) {
  AddWeights(agent.module(), file);
  file.metadata["format"] = kStateFormat;
  file.metadata["agent"] = ToJson(agent.options());
  file.metadata["trainer"] = TrainerJson(options);
  file.metadata["updates"] = std::to_string(updates);
  file.metadata["position"] = std::to_string(updates * options.batch_size);
  WriteSafetensors(path, file);
}

TrainingState ReadTrainingState(const std::string& path, Agent& agent,
                                const TrainerOptions& options) {
  using datasets::FileError;
  using nlohmann::json;
  TrainingState state{ReadSafetensors(path)};
  std::map<std::string, std::string>& metadata = state.file.metadata;
  const auto expect = [&](const std::string& key, const std::string& expected) {
    const auto found = metadata.find(key);
    if (found != metadata.end() && found->second == expected) return;
    throw FileError(path, "metadata " + key, expected,
                    found == metadata.end() ? "none" : found->second);
  };
  expect("format", kStateFormat);
  expect("agent", ToJson(agent.options()));
  if (json trainer = json::parse(metadata["trainer"], nullptr, false); trainer.is_object()) {
    trainer.erase("cuda_graph");  // of states from before it was always so
    metadata["trainer"] = trainer.dump();
  }
  expect("trainer", TrainerJson(options));
  const std::string& text = metadata["updates"];
  const json value = json::parse(text, nullptr, false);
  const int64_t most = std::numeric_limits<int64_t>::max() / options.batch_size;
  if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(most)) {
    throw FileError(path, "metadata updates", "a whole number up to " + std::to_string(most), text);
  }
  state.updates = value.get<int64_t>();
  expect("position", std::to_string(state.updates * options.batch_size));
  LoadWeights(path, state.file, agent.module());
  return state;
}

}  // namespace cosdt::agents
