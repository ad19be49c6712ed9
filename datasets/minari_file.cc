#include "datasets/minari_file.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "datasets/array_reader.h"
#include "datasets/episode_ends.h"

namespace cosdt::datasets {
namespace {

constexpr char kPrefix[] = "episode_";
constexpr uint64_t kWidestRow = 1 << 16;

// The number in "episode_12", or nothing.
std::optional<uint64_t> EpisodeNumber(const std::string& name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const char* const begin = name.data() + sizeof kPrefix - 1;
  const char* const end = name.data() + name.size();
  uint64_t number = 0;
  const auto [rest, error] = std::from_chars(begin, end, number);
  if (error != std::errc() || rest != end) return std::nullopt;
  return number;
}

std::vector<uint64_t> Matrix(const Hdf5File& file, const std::string& key) {
  const std::vector<uint64_t> shape = file.Shape(key);
  if (shape.size() != 2 || shape[1] < 1 || shape[1] > kWidestRow) {
    throw FileError(file.path(), key, "shape (T, size)", ShapeString(shape));
  }
  return shape;
}

}  // namespace

bool IsMinariFile(const std::string& path) {
  const Hdf5File file(path);
  return !file.Has("observations") &&
         std::ranges::any_of(file.Names(""), [](const std::string& name) {
           return EpisodeNumber(name).has_value();
         });
}

MinariFile::MinariFile(const std::string& path) : file_(path) {
  std::vector<std::pair<uint64_t, std::string>> numbered;
  for (const std::string& name : file_.Names("")) {
    if (const auto number = EpisodeNumber(name)) numbered.emplace_back(*number, name);
  }
  if (numbered.empty()) throw FileError(path, "", "groups episode_0, episode_1, ..", "none");
  std::ranges::sort(numbered);
  for (const auto& entry : numbered) {
    const std::string& group = entry.second;
    ActionSpace actions = groups_.empty() ? ReadActionSpace(file_, group + "/actions")
                                          : DescribeActions(file_, group + "/actions");
    if (!groups_.empty()) actions.n = action_space_.n;
    const std::vector<uint64_t> observations = Matrix(file_, group + "/observations");
    const uint64_t steps = actions.rows;
    if (steps == 0) throw FileError(path, group + "/actions", "at least one step", "none");
    if (groups_.empty()) {
      observation_size_ = static_cast<int>(observations[1]);
      action_space_ = actions;
    }
    if (!actions.SameKind(action_space_)) {
      throw FileError(path, group + "/actions", ActionSpaceText(action_space_),
                      ActionSpaceText(actions));
    }
    const auto expect = [&](const std::string& key, const std::vector<uint64_t>& found,
                            const std::vector<uint64_t>& shape) {
      if (found == shape) return;
      throw FileError(path, group + "/" + key, "shape " + ShapeString(shape), ShapeString(found));
    };
    expect("observations", observations, {steps + 1, static_cast<uint64_t>(observation_size_)});
    groups_.push_back(group);
    offsets_.push_back(offsets_.back() + steps);
  }
}

void MinariFile::Read(const std::string& key, std::span<float> out) const {
  const bool is_observation = key == "observations" || key == "next_observations";
  const uint64_t width = is_observation ? observation_size_ : key == "actions" ? action_size() : 1;
  FloatVector episode;
  for (size_t i = 0; i < groups_.size(); ++i) {
    const uint64_t steps = offsets_[i + 1] - offsets_[i];
    const uint64_t rows = is_observation ? steps + 1 : steps;
    episode.resize(rows * width);
    ReadArray<float>(file_, groups_[i] + "/" + (is_observation ? "observations" : key), rows, width,
                     episode, 1);
    const size_t first = key == "next_observations" ? width : 0;
    std::copy_n(episode.begin() + first, steps * width, out.begin() + offsets_[i] * width);
  }
}

std::vector<Ending> MinariFile::ReadEndings() const {
  std::vector<Ending> endings;
  for (size_t i = 0; i < groups_.size(); ++i) {
    const uint64_t steps = offsets_[i + 1] - offsets_[i];
    // whether the last step has the flag, which no step before may have
    const auto ends = [&](const std::string& key) {
      const std::vector<uint8_t> flags = ReadFlags(file_, key, steps, 1);
      const size_t row = std::ranges::find(flags, 1) - flags.begin();
      if (row + 1 < steps) {
        throw FlagError(path(), key, row,
                        "0 before the last of " + std::to_string(steps) + " steps", "1");
      }
      return flags.back() == 1;
    };
    const bool terminates = ends(groups_[i] + "/terminations");
    const bool truncated = ends(groups_[i] + "/truncations");
    endings.push_back(terminates  ? Ending::kTerminal
                      : truncated ? Ending::kTimeout
                                  : Ending::kPartial);
  }
  return endings;
}

}  // namespace cosdt::datasets
