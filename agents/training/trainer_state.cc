// The state of a training on disk and in a group of processes.
#include "agents/training/trainer.h"
#include "datasets/sha256.h"

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

void Trainer::TakeStateOfFirst() {
  const torch::NoGradGuard no_grad;
  for (const torch::Tensor& array :
       {optimizer_.parameters(), optimizer_.first(), optimizer_.second()}) {
    group_->Broadcast(array);
  }
  for (const torch::Tensor& buffer : agent_->module().buffers()) group_->Broadcast(buffer);
  const torch::Tensor steps = torch::full({1}, updates(), torch::kInt64);
  group_->Broadcast(steps);
  optimizer_.CountSteps(steps.item<int64_t>() - updates());
  sampler_.set_position(static_cast<uint64_t>(updates() * options_.batch_size));
}

std::string Trainer::Digest() const {
  datasets::Sha256 digest;
  for (const torch::Tensor& array :
       {optimizer_.parameters(), optimizer_.first(), optimizer_.second()}) {
    const torch::Tensor bytes = array.cpu();
    digest.Add({static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes()});
  }
  return digest.Finish();
}

}  // namespace cosdt::agents
