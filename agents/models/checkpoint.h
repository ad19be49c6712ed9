// An agent with all that evaluating it needs, in one safetensors file.
//
// Tensors: model.NAME, parameters and buffers; normalizer.mean and normalizer.std; of an agent that
// predicts returns return_predictor.layers.0.weight and so on. Strings in the file's metadata:
// format (cosdt-checkpoint-1), agent (its options in JSON), env, physics, dataset, dataset_sha256,
// targets (a list of numbers and "auto" in JSON), return_scale, updates, run (the run's options in
// TOML); of an agent that a critic guided also critic, critic_sha256 and critic_run.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "agents/models/agent.h"
#include "agents/models/return_predictor.h"
#include "agents/models/target.h"
#include "agents/storage/safetensors.h"
#include "datasets/normalizer.h"
#include "datasets/window_sampler.h"

namespace cosdt::agents {

// A checkpoint's contents besides the weights.
struct CheckpointInfo {
  datasets::Normalizer normalizer;
  double return_scale = datasets::kReturnScale;  // returns-to-go are divided by it
  std::string env;                               // "" if the data fit no body we know
  std::string physics = "d4rl";                  // a name of envs/model.h
  std::string dataset;                           // path, as it was given
  std::string dataset_sha256;
  std::vector<Target> targets;  // returns to ask for
  // for targets that are auto; null without
  std::shared_ptr<const ReturnPredictor> return_predictor;
  int64_t updates = 0;  // of training
  std::string run;      // the run's effective options, TOML
  // of the critic that guided training: its checkpoint's path, SHA-256 and options; "" without
  std::string critic, critic_sha256, critic_run;
};

struct Checkpoint {
  std::shared_ptr<Agent> agent;  // on the CPU, in float32, in evaluation mode
  CheckpointInfo info;
};

// Writes as WriteSafetensors does.
void WriteCheckpoint(const std::string& path, const Agent& agent, const CheckpointInfo& info);

// Throws FileError (datasets/file_error.h) if the file is damaged, is no checkpoint, or its weights
// do not fit its options.
Checkpoint ReadCheckpoint(const std::string& path);

// All parameters and buffers under "model.", and back into a module that has the same ones.
void AddWeights(const torch::nn::Module& module, Safetensors& file);
void LoadWeights(const std::string& path, const Safetensors& file, torch::nn::Module& module);

}  // namespace cosdt::agents
