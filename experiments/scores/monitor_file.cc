#include "experiments/scores/monitor_file.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <span>

#include "datasets/file_error.h"
#include "envs/registry.h"
#include "experiments/scores/statistics.h"

namespace cosdt::experiments {
namespace {

using datasets::FileError;
using nlohmann::json;

// Reads a line without its end, which is \r\n in these files.
bool ReadLine(std::istream& stream, std::string& line) {
  if (!std::getline(stream, line)) return false;
  if (line.ends_with('\r')) line.pop_back();
  return true;
}

// A line that was found in place of an expected one, as errors quote it.
std::string Quoted(std::string line) {
  if (line.size() > 60) line = line.substr(0, 60) + "..";
  std::ranges::replace_if(line, [](unsigned char c) { return !std::isprint(c); }, '?');
  return "'" + line + "'";
}

// Takes a number and the comma after it from the front of a row. Whether both were there.
template <typename T>
bool TakeNumber(std::string_view& row, T& number) {
  const auto [end, error] = std::from_chars(row.data(), row.data() + row.size(), number);
  if (error != std::errc() || end == row.data() + row.size() || *end != ',') return false;
  row.remove_prefix(end + 1 - row.data());
  return true;
}

// "hopper" of "Hopper-v3".
std::string BodyOf(std::string env_id) {
  std::ranges::transform(env_id, env_id.begin(), [](unsigned char c) { return std::tolower(c); });
  return env_id.substr(0, env_id.find('-'));
}

}  // namespace

MonitorFile ReadMonitorFile(const std::string& path) {
  std::ifstream stream(path);
  if (!stream) throw FileError(path, "", "a readable file", "none");
  MonitorFile file{path, "", {}, {}};
  std::string line;
  ReadLine(stream, line);
  const json head = line.starts_with('#') ? json::parse(line.substr(1), nullptr, false) : json();
  if (!head.is_object()) {
    throw FileError(path, "line 1", "a Monitor file's '#' and JSON object", Quoted(line));
  }
  if (const auto id = head.find("env_id"); id != head.end() && id->is_string()) {
    file.env_id = id->get<std::string>();
  }
  if (!ReadLine(stream, line) || !(line + ",").starts_with("r,l,t,")) {
    throw FileError(path, "line 2", "the columns r,l,t", Quoted(line));
  }
  while (ReadLine(stream, line)) {
    std::string_view row = line;
    double episode_return = 0;
    int length = 0;
    if (!TakeNumber(row, episode_return) || !TakeNumber(row, length) || length < 1 ||
        !std::isfinite(episode_return)) {
      throw FileError(path, "line " + std::to_string(file.returns.size() + 3),
                      "a return, a length and a time", Quoted(line));
    }
    file.returns.push_back(episode_return);
    file.lengths.push_back(length);
  }
  if (stream.bad()) throw FileError(path, "", "a readable file", "a read error");
  if (file.returns.empty()) throw FileError(path, "", "at least one episode", "none");
  return file;
}

void CheckComparable(const MonitorFile& file, const std::string& env, int episodes) {
  const std::string body = envs::ParseEnvName(env).body;
  if (!file.env_id.empty() && BodyOf(file.env_id) != body) {
    throw FileError(file.path, "env_id", "an environment of " + env, file.env_id);
  }
  if (episodes > static_cast<int>(file.returns.size())) {
    throw FileError(file.path, "",
                    "at least the " + std::to_string(episodes) + " episodes asked for",
                    std::to_string(file.returns.size()));
  }
}

void to_json(json& to, const EpisodeComparison& from) {
  to = {{"file", from.file},
        {"episodes", from.episodes},
        {"equal_lengths", from.equal_lengths},
        {"returns_within_0.1", from.returns_within},
        {"mean", from.mean},
        {"file_mean", from.file_mean}};
}

EpisodeComparison CompareEpisodes(const agents::RolloutResult& result, const MonitorFile& file) {
  EpisodeComparison comparison{.file = file.path, .episodes = result.returns.size()};
  for (size_t i = 0; i < result.returns.size(); ++i) {
    comparison.equal_lengths += result.lengths[i] == file.lengths[i];
    comparison.returns_within += std::abs(result.returns[i] - file.returns[i]) <= kSameReturn;
  }
  comparison.mean = Mean(result.returns);
  comparison.file_mean = Mean(std::span(file.returns).first(result.returns.size()));
  return comparison;
}

void PrintComparison(const EpisodeComparison& c) {
  std::printf("against            %s\n", c.file.c_str());
  std::printf("equal lengths      %d of %zu\n", c.equal_lengths, c.episodes);
  std::printf("returns within %.1f %d of %zu\n", kSameReturn, c.returns_within, c.episodes);
  std::printf("mean return        %.1f, the file's %.1f\n", c.mean, c.file_mean);
}

}  // namespace cosdt::experiments
