#include "agents/processes/batch_share.h"

#include <stdexcept>

namespace cosdt::agents {

BatchShare::BatchShare(ProcessGroup* group, int64_t rows, const std::string& what)
    : group_(group),
      rows_(rows),
      share_(group ? group->ShareOf(rows) : ProcessGroup::Share{0, rows}) {
  if (!group || group->size() <= rows) return;
  throw std::invalid_argument("processes: expected at most " + std::to_string(rows) + ", the " +
                              what + " of a batch, found " + std::to_string(group->size()));
}

void BatchShare::Sum(const torch::Tensor& message, std::span<double> values) {
  if (!group_) return;
  const torch::NoGradGuard no_grad;
  const auto count = static_cast<int64_t>(values.size());
  TORCH_CHECK(count < kNotes, "message: expected fewer than ", kNotes, " values, found ", count);
  const torch::Tensor notes = message.narrow(0, message.numel() - kNotes, kNotes);
  torch::Tensor here = torch::zeros(kNotes);
  for (int64_t i = 0; i < count; ++i) here[i] = values[static_cast<size_t>(i)];
  here[count] = asks_to_stop_ ? 1.0 : 0.0;
  notes.copy_(here);
  group_->Sum(message);
  here.copy_(notes);
  for (int64_t i = 0; i < count; ++i) values[static_cast<size_t>(i)] = here[i].item<float>();
  is_asked_to_stop_ = here[count].item<float>() > 0;
}

void BatchShare::Sum(std::span<double> values) const {
  if (!group_) return;
  group_->Sum(
      torch::from_blob(values.data(), {static_cast<int64_t>(values.size())}, torch::kFloat64));
}

}  // namespace cosdt::agents
