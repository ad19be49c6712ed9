// The state of a training on disk and in a group of processes.
#include "agents/training/trainer.h"

namespace cosdt::agents {

void Trainer::Save(const std::string& path, std::map<std::string, std::string> metadata) const {
  Safetensors file;
  optimizer_.Save(file);
  file.metadata = std::move(metadata);
  WriteTrainingState(path, std::move(file), *agent_, options_, updates());
}

std::map<std::string, std::string> Trainer::Restore(const std::string& path) {
  TrainingState state = ReadTrainingState(path, *agent_, options_);
  optimizer_.Load(path, state.file, state.updates);
  sampler_.set_position(static_cast<uint64_t>(state.updates * options_.batch_size));
  return std::move(state.file.metadata);
}

std::vector<torch::Tensor> Trainer::Arrays() const {
  return {optimizer_.parameters(), optimizer_.first(), optimizer_.second()};
}

void Trainer::SetUpdates(int64_t updates) {
  optimizer_.CountSteps(updates - optimizer_.steps());
  sampler_.set_position(static_cast<uint64_t>(updates * options_.batch_size));
}

}  // namespace cosdt::agents
