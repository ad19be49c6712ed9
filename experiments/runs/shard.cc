#include "experiments/runs/shard.h"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <tuple>

namespace cosdt::experiments {

Shard ParseShard(const std::string& text) {
  Shard shard;
  const char* const end = text.data() + text.size();
  const auto [slash, error] = std::from_chars(text.data(), end, shard.index);
  bool good = error == std::errc() && slash != end && *slash == '/';
  if (good) {
    const auto [stop, count_error] = std::from_chars(slash + 1, end, shard.count);
    good = count_error == std::errc() && stop == end;
  }
  if (good && shard.index >= 0 && shard.index < shard.count) return shard;
  throw std::invalid_argument("shard: expected I/N with I from 0 to N - 1, found " + text);
}

Shard ShardFromEnvironment(const std::function<const char*(const char*)>& get) {
  const auto number = [&](const char* name) -> std::optional<int64_t> {
    const char* const text = get(name);
    if (!text) return std::nullopt;
    int64_t value = 0;
    const auto [stop, error] = std::from_chars(text, text + std::string_view(text).size(), value);
    return error == std::errc() && *stop == '\0' ? std::optional(value) : std::nullopt;
  };
  const auto make = [](std::optional<int64_t> index, std::optional<int64_t> count,
                       const char* source) {
    const bool good = index && count && *index >= 0 && *index < *count;
    return good ? std::optional(Shard{*index, *count, source}) : std::nullopt;
  };
  if (const auto id = number("SLURM_ARRAY_TASK_ID")) {
    const auto first = number("SLURM_ARRAY_TASK_MIN"), count = number("SLURM_ARRAY_TASK_COUNT");
    if (const auto shard = make(*id - first.value_or(0), count, "Slurm's array")) return *shard;
    throw std::invalid_argument(
        "SLURM_ARRAY_TASK_ID: expected an array without gaps (--array=0-7); otherwise give "
        "--shard");
  }
  for (const auto& [rank, size, source] :
       {std::tuple{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "Open MPI's ranks"},
        {"PMI_RANK", "PMI_SIZE", "MPI's ranks"},
        {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "Slurm's tasks"}}) {
    if (const auto shard = make(number(rank), number(size), source)) return *shard;
  }
  return {};
}

double ExpectedCost(TrainOptions options) {
  options.FillDefaults();
  const agents::AgentOptions& agent = options.agent;
  const auto layers = static_cast<double>(agent.layers()),
             width = static_cast<double>(agent.width());
  const double length = static_cast<double>(agent.context() * agent.tokens_per_step());
  // multiply-adds of a token's way forward through the layers
  double token = layers * width * width;
  if (agent.attention()) {
    double seen = 0;  // on average over the blocks
    const std::vector<std::string> kinds = agent.dt.attention_kinds();
    for (const std::string& kind : kinds) {
      const bool linear = kind != "softmax" && kind != "local";
      seen += (linear ? std::min(length, 4 * width) : length) / static_cast<double>(kinds.size());
    }
    token = layers * (12 * width * width + seen * width);
  }
  const double trained = static_cast<double>(options.updates * options.trainer.batch_size) * length;
  constexpr double kBackward = 3;    // a training update over its forward pass
  constexpr double kSteps = 1000;    // of an episode
  constexpr double kStepCost = 2e5;  // a step of a body, in multiply-adds of the same time
  const double episodes = static_cast<double>(options.episodes) *
                          static_cast<double>(std::max<size_t>(1, options.targets.size()));
  return kBackward * trained * token + episodes * kSteps * (length * token + kStepCost);
}

std::vector<size_t> Deal(const Shard& shard, const std::vector<double>& costs) {
  std::vector<size_t> order(costs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater<>(), [&](size_t cell) { return costs[cell]; });
  std::vector<double> loads(static_cast<size_t>(shard.count));
  std::vector<size_t> own;
  for (const size_t cell : order) {
    const auto least = std::ranges::min_element(loads);
    *least += costs[cell];
    if (least - loads.begin() == shard.index) own.push_back(cell);
  }
  std::ranges::sort(own);
  return own;
}

}  // namespace cosdt::experiments
