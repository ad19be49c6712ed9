#include "datasets/recorded_env.h"

#include <algorithm>
#include <climits>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "datasets/action_space.h"

namespace cosdt::datasets {
namespace {

using nlohmann::json;

constexpr int kHorizon = 1000;  // of all bodies, in gymnasium as in D4RL

struct Name {
  std::string_view text, meaning;
};
constexpr Name kBodies[] = {
    {"Hopper", "hopper"}, {"HalfCheetah", "halfcheetah"}, {"Walker2d", "walker2d"}};
constexpr Name kVersions[] = {
    {"v2", "d4rl"}, {"v3", "d4rl"}, {"v4", "gymnasium-v4"}, {"v5", "gymnasium-v5"}};

// Where these bodies' own classes are.
constexpr const char* kModules[] = {"gymnasium.envs.mujoco", "gym.envs.mujoco"};

// Arguments of drawing, not of motion.
constexpr std::string_view kDrawing[] = {"render_mode", "width",         "height",
                                         "camera_id",   "camera_name",   "default_camera_config",
                                         "max_geom",    "visual_options"};

// JSON as Python writes it: Infinity and NaN become strings. Values nested deeper than an EnvSpec
// is left out, because printing it would take as deep a stack. Discarded if it does not parse.
json ParsePythonJson(const std::string& text) {
  std::string plain;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    std::string_view token;
    for (const std::string_view word : {"-Infinity", "Infinity", "NaN"}) {
      if (!quoted && token.empty() && text.compare(i, word.size(), word) == 0) token = word;
    }
    if (!token.empty()) {
      plain += '"' + std::string(token) + '"';
      i += token.size() - 1;
      continue;
    }
    if (text[i] == '"') quoted = !quoted;
    plain += text[i];
    if (quoted && text[i] == '\\' && i + 1 < text.size()) plain += text[++i];
  }
  const auto shallow = [](int depth, json::parse_event_t, const json&) { return depth <= 32; };
  return json::parse(plain, shallow, /*allow_exceptions=*/false);
}

// Wrappers that watch and change nothing.
constexpr std::string_view kWatching[] = {"RecordEpisodeStatistics", "RecordVideo",
                                          "OrderEnforcing", "PassiveEnvChecker"};

std::string Meaning(std::span<const Name> names, std::string_view text) {
  const auto name = std::ranges::find(names, text, &Name::text);
  return name == names.end() ? "" : std::string(name->meaning);
}

// What Minari says under `key`, in JSON: the attribute, or the value in metadata.json. "" if there
// is none.
std::string MinariText(const Hdf5File& file, const char* key) {
  if (const std::string text = file.ReadAttribute(key); !text.empty()) return text;
  const std::filesystem::path path = file.path();
  if (path.filename() != "main_data.hdf5") return "";
  const std::string next_to_it = path.parent_path() / "metadata.json";
  std::ifstream stream(next_to_it, std::ios::binary);
  if (!stream) return "";
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  const json metadata = ParsePythonJson(text);
  if (!metadata.is_object()) throw FileError(next_to_it, "", "a JSON object", "something else");
  const auto value = metadata.find(key);
  if (value == metadata.end() || value->is_null()) return "";
  return value->is_string() ? value->get<std::string>() : value->dump();
}

// The part of an EnvSpec that makes the environment another than its id says; "" if nothing does.
std::string Changes(const json& spec) {
  std::string changes;
  const auto add = [&](const std::string& change) {
    changes += (changes.empty() ? "" : ", ") + change;
  };
  if (const auto entry = spec.find("entry_point"); entry != spec.end() && entry->is_string()) {
    const std::string module = entry->get<std::string>();
    const auto starts = [&](const char* own) { return module.starts_with(own); };
    if (!std::ranges::any_of(kModules, starts)) add("entry_point = " + module);
  }
  if (const auto kwargs = spec.find("kwargs"); kwargs != spec.end() && kwargs->is_object()) {
    for (const auto& [name, value] : kwargs->items()) {
      if (!std::ranges::count(kDrawing, name)) add(name + " = " + value.dump());
    }
  }
  const auto steps = spec.find("max_episode_steps");
  if (steps != spec.end() && *steps != kHorizon) add("max_episode_steps = " + steps->dump());
  const auto wrappers = spec.find("additional_wrappers");
  if (wrappers != spec.end() && wrappers->is_array()) {
    for (const json& wrapper : *wrappers) {
      const bool named = wrapper.is_object() && wrapper.contains("name");
      if (named && std::ranges::count(kWatching, wrapper["name"])) continue;
      add("wrapper " + (named ? wrapper["name"] : wrapper).dump());
    }
  }
  return changes;
}

void ReadSpec(const Hdf5File& file, const std::string& text, RecordedEnv& recorded) {
  const json spec = ParsePythonJson(text);
  if (!spec.is_object() || !spec.contains("id") || !spec["id"].is_string()) {
    throw FileError(file.path(), kEnvSpecKey, "gymnasium's EnvSpec in JSON, with an id",
                    "something else");
  }
  recorded.source = kEnvSpecKey;
  recorded.id = spec["id"].get<std::string>();
  const auto steps = spec.find("max_episode_steps");
  if (steps != spec.end() && steps->is_number_integer()) {
    const auto most = steps->get<int64_t>();
    if (most > 0 && most <= INT_MAX) recorded.horizon = static_cast<int>(most);
  }
  if (FindKnownFile(recorded.id)) {  // D4RL's own: "hopper-medium-v2"
    recorded.body = FindBody(recorded.id.substr(0, recorded.id.find_first_of("-_")));
    recorded.physics = "d4rl";
    return;
  }
  const size_t dash = std::min(recorded.id.rfind('-'), recorded.id.size());
  recorded.body = FindBody(Meaning(kBodies, recorded.id.substr(0, dash)));
  if (!recorded.body) return;
  const std::string version = recorded.id.substr(std::min(dash + 1, recorded.id.size()));
  const std::string physics = Meaning(kVersions, version);
  recorded.unlike = physics.empty() ? "unknown version" : Changes(spec);
  if (recorded.unlike.empty()) recorded.physics = physics;
}

void ReadMetadata(const Hdf5File& file, RecordedEnv& recorded) {
  recorded.source = kPhysicsKey;
  recorded.physics = file.ReadString(kPhysicsKey);
  if (std::ranges::count(kVersions, recorded.physics, &Name::meaning) == 0) {
    throw FileError(file.path(), kPhysicsKey, "d4rl, gymnasium-v4 or gymnasium-v5",
                    recorded.physics);
  }
  if (file.Has(kMujocoVersionKey)) recorded.mujoco_version = file.ReadString(kMujocoVersionKey);
}

}  // namespace

RecordedEnv ReadRecordedEnv(const Hdf5File& file, const KnownFile* known) {
  RecordedEnv recorded;
  if (file.Has(kPhysicsKey)) {
    ReadMetadata(file, recorded);
  } else if (const std::string text = MinariText(file, kEnvSpecKey); !text.empty()) {
    ReadSpec(file, text, recorded);
  } else {
    if (!known) {
      known = FindKnownPath(file.path());
      if (known && known->bytes != file.file_size()) known = nullptr;
    }
    if (known) {
      recorded.source = kD4rlsList;
      recorded.physics = "d4rl";
    }
  }
  return recorded;
}

int ReadMinariDiscrete(const Hdf5File& file) {
  const std::string text = MinariText(file, kMinariActionSpaceKey);
  if (text.empty()) return 0;
  const json space = ParsePythonJson(text);
  const auto refuse = [&](const std::string& expected, const std::string& found) {
    throw FileError(file.path(), kMinariActionSpaceKey, expected, found);
  };
  if (!space.is_object() || !space.contains("type") || !space["type"].is_string()) {
    refuse("gymnasium's space in JSON, with a type", "something else");
  }
  if (space["type"] != "Discrete") return 0;
  if (const json start = space.value("start", json(0)); start != 0) {
    refuse("a Discrete that starts from 0", "start " + start.dump());
  }
  const json n = space.value("n", json());
  if (!n.is_number_integer() || n < 1 || n > kMaxDiscreteActions) {
    refuse("a Discrete with n from 1 to " + std::to_string(kMaxDiscreteActions), "n " + n.dump());
  }
  return n.get<int>();
}

const Body* BodyOf(const RecordedEnv& recorded, const std::string& path, int observation_size,
                   int action_size, float first_height) {
  if (recorded.id.empty()) return GuessBody(path, observation_size, action_size, first_height);
  const Body* const body = recorded.body;
  const bool fits =
      body && body->observation_size == observation_size && body->action_size == action_size;
  return fits ? body : nullptr;
}

std::string EnvText(const RecordedEnv& recorded) {
  if (!recorded.physics.empty()) return recorded.physics + " physics";
  return recorded.unlike.empty() ? recorded.id : recorded.id + " (" + recorded.unlike + ")";
}

std::string RecordText(const RecordedEnv& recorded) {
  if (recorded.source.empty()) return "unknown";
  std::string text = EnvText(recorded) + ", as " + recorded.source + " says";
  if (!recorded.physics.empty() && !recorded.id.empty()) text += " (" + recorded.id + ")";
  if (!recorded.mujoco_version.empty()) text += " (MuJoCo " + recorded.mujoco_version + ")";
  return text;
}

}  // namespace cosdt::datasets
