#include "datasets/action_space.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>
#include <vector>

#include "datasets/file_error.h"
#include "datasets/recorded_env.h"

namespace cosdt::datasets {
namespace {

constexpr uint64_t kMaxWidth = 1 << 16;

// n of "Discrete(n)".
int ParseDiscrete(const Hdf5File& file, const std::string& text) {
  constexpr std::string_view kBegin = "Discrete(", kEnd = ")";
  int n = 0;
  if (text.starts_with(kBegin) && text.ends_with(kEnd)) {
    const char* const begin = text.data() + kBegin.size();
    const char* const end = text.data() + text.size() - kEnd.size();
    const auto [rest, error] = std::from_chars(begin, end, n);
    if (error != std::errc() || rest != end) n = 0;
  }
  if (n < 1 || n > kMaxDiscreteActions) {
    throw FileError(file.path(), kActionSpaceKey,
                    "Discrete(n) with n from 1 to " + std::to_string(kMaxDiscreteActions), text);
  }
  return n;
}

}  // namespace

std::string ActionSpaceText(const ActionSpace& space) {
  if (!space.discrete) return std::to_string(space.size) + " continuous values";
  return "Discrete(" + (space.n > 0 ? std::to_string(space.n) : "n") + ")";
}

ActionSpace DescribeActions(const Hdf5File& file, const std::string& key) {
  const ArrayInfo info = file.Info(key);
  if (info.type == NumberType::kOther) {
    throw FileError(file.path(), key, "numeric values", "another type");
  }
  const bool integers = info.type == NumberType::kInteger;
  const std::vector<uint64_t>& shape = info.shape;
  const bool flat = integers && shape.size() == 1;
  if (!flat && (shape.size() != 2 || shape[1] < 1 || shape[1] > kMaxWidth)) {
    throw FileError(file.path(), key, "shape (N, size)", ShapeString(shape));
  }
  ActionSpace space{.rows = shape[0], .size = flat ? 1 : static_cast<int>(shape[1])};
  space.discrete = integers && space.size == 1;
  return space;
}

ActionSpace ReadActionSpace(const Hdf5File& file, const std::string& key) {
  ActionSpace space = DescribeActions(file, key);
  if (file.Has(kActionSpaceKey)) {
    space.n = ParseDiscrete(file, file.ReadString(kActionSpaceKey));
  } else {
    space.n = ReadMinariDiscrete(file);
  }
  if (space.n > 0 && !space.discrete) {
    throw FileError(file.path(), key,
                    "one integer per row, of Discrete(" + std::to_string(space.n) + ")",
                    ActionSpaceText({.size = space.size}));
  }
  return space;
}

int CountDiscreteActions(const ActionSpace& space, std::span<const float> actions) {
  if (!space.discrete) return 0;
  if (space.n > 0) return space.n;
  float highest = 0;
  for (const float action : actions) highest = std::max(highest, action);
  return static_cast<int>(std::min(highest, static_cast<float>(kMaxDiscreteActions - 1))) + 1;
}

bool IsDiscreteAction(float action, int n) {
  return action >= 0 && action < static_cast<float>(n) && action == std::floor(action);
}

std::string DiscreteActionText(int n) { return "an integer from 0 to " + std::to_string(n - 1); }

}  // namespace cosdt::datasets
