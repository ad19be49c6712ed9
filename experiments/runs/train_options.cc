#include "experiments/runs/train_options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <numeric>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "datasets/file_kind.h"
#include "experiments/embedded.h"
#include "experiments/program/toml_table.h"

namespace cosdt::experiments {
namespace {

template <class T>
bool Parse(std::string_view text, T& value) {
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && rest == end && !text.empty();
}

bool ParseText(std::string_view text, int64_t& value) { return Parse(text, value); }
bool ParseText(std::string_view text, uint64_t& value) { return Parse(text, value); }
bool ParseText(std::string_view text, double& value) {
  if (text.ends_with('%')) text.remove_suffix(1);
  return Parse(text, value) && std::isfinite(value);
}
bool ParseText(std::string_view text, std::string& value) {
  value = text;
  return true;
}
bool ParseText(std::string_view text, bool& value) {
  value = text == "true";
  return value || text == "false";
}
bool ParseText(std::string_view text, std::vector<double>& value) {
  value.clear();
  while (true) {
    const size_t comma = text.find(',');
    if (!ParseText(text.substr(0, comma), value.emplace_back())) return false;
    if (comma == std::string_view::npos) return true;
    text.remove_prefix(comma + 1);
  }
}

bool ParseNode(const toml::node& node, int64_t& value) {
  if (!node.is_integer()) return false;
  value = **node.as_integer();
  return true;
}
bool ParseNode(const toml::node& node, uint64_t& value) {
  // beyond TOML's range, numbers come as texts
  if (node.is_string()) return ParseText(**node.as_string(), value);
  if (!node.is_integer() || **node.as_integer() < 0) return false;
  value = static_cast<uint64_t>(**node.as_integer());
  return true;
}
bool ParseNode(const toml::node& node, double& value) {
  if (node.is_integer()) value = static_cast<double>(**node.as_integer());
  if (node.is_floating_point()) value = **node.as_floating_point();
  return node.is_number() && std::isfinite(value);
}
bool ParseNode(const toml::node& node, std::string& value) {
  if (node.is_string()) value = **node.as_string();
  return node.is_string();
}
bool ParseNode(const toml::node& node, bool& value) {
  if (node.is_boolean()) value = **node.as_boolean();
  return node.is_boolean();
}
bool ParseNode(const toml::node& node, std::vector<double>& value) {
  if (!node.is_array()) return false;
  value.clear();
  for (const toml::node& n : *node.as_array()) {
    if (!ParseNode(n, value.emplace_back())) return false;
  }
  return true;
}

const char* Expected(const TrainField& field) {
  constexpr const char* kNames[] = {"a whole number", "a whole number, not negative",
                                    "a number",       "a text",
                                    "true or false",  "numbers"};
  return kNames[field.value.index()];
}

void ExpectAtLeastOne(const char* name, int64_t found) {
  if (found >= 1) return;
  throw std::invalid_argument(std::string(name) + ": expected at least 1, found " +
                              std::to_string(found));
}

void ExpectBetween(const char* name, int64_t least, int64_t most, int64_t found) {
  if (least <= found && found <= most) return;
  throw std::invalid_argument(std::string(name) + ": expected " + std::to_string(least) + " to " +
                              std::to_string(most) + ", found " + std::to_string(found));
}

// The shortest decimal that reads back as the same number; a TOML float has a point or an exponent.
std::string Shortest(double number) {
  char text[32];
  std::string out(text, std::to_chars(text, text + sizeof text, number).ptr);
  const bool whole = out.find_first_not_of("-0123456789") == std::string::npos;
  return whole ? out + ".0" : out;
}

}  // namespace

void TrainOptions::Resolve() {
  ExpectBetween("threads", 1, 1024, threads);  // reading data takes them already
  ExpectBetween("episodes", 1, 10'000'000, episodes);
  const agents::AgentOptions usual;
  const bool bc = agent.kind == "bc";
  if (layers == 0) layers = bc ? usual.bc.layers : usual.dt.layers;
  if (width == 0) width = bc ? usual.bc.width : usual.dt.width;
  (bc ? agent.bc.layers : agent.dt.layers) = layers;
  (bc ? agent.bc.width : agent.dt.width) = width;
}

void TrainOptions::FillFrom(const TrainOptions& begun) {
  if (layers == 0) layers = begun.layers;
  if (width == 0) width = begun.width;
  if (env.empty()) env = begun.env;
  if (physics.empty()) physics = begun.physics;
  if (targets.empty()) targets = begun.targets;
  if (return_scale == 0) return_scale = begun.return_scale;
  if (max_timestep == 0) max_timestep = begun.max_timestep;
}

void TrainOptions::Validate() const {
  agent.Validate();
  trainer.Validate();
  if (updates < 0) {
    throw std::invalid_argument("updates: expected at least 0, found " + std::to_string(updates));
  }
  ExpectAtLeastOne("save-every", save_every);
  if (eval_every < 0) {
    throw std::invalid_argument("eval-every: expected at least 0, found " +
                                std::to_string(eval_every));
  }
  if (eval_every > 0 && env.empty()) {
    throw std::invalid_argument(
        "eval-every: expected data of a body that cosdt simulates, found others");
  }
  if (!(top > 0 && top <= 100)) {
    throw std::invalid_argument("top: expected a share from 0 to 100 %, found " +
                                std::to_string(top));
  }
  if (normalizer != "kept" && normalizer != "all") {
    throw std::invalid_argument("normalizer: expected kept or all, found " + normalizer);
  }
}

std::vector<TrainField> TrainFields(TrainOptions& o) {
  agents::DecisionTransformerOptions& dt = o.agent.dt;
  return {
      {"dataset",
       "dataset: a D4RL or Minari file, a D4RL name (hopper-medium-v2) or a demo "
       "(demo/hopper-medium)",
       &o.dataset},
      {"env", "environment to evaluate in (default: that of the dataset)", &o.env},
      {"physics",
       "physics to evaluate in: d4rl, gymnasium-v4 or gymnasium-v5 (default: as the dataset says, "
       "else d4rl)",
       &o.physics},
      {"top", "train on the best episodes by return: a percentage such as 10%", &o.top},
      {"normalizer", "normalize observations over the kept episodes (kept) or over all rows (all)",
       &o.normalizer},
      {"targets", "target returns of evaluation (default: the environment's usual ones)",
       &o.targets},
      {"agent", "agent: dt (Decision Transformer) or bc (behaviour cloning)", &o.agent.kind},
      {"attention", "attention: cosformer, softmax, linear, performer, local, flow, identity",
       &dt.attention.kind},
      {"reweight-length",
       "cosformer: distance M in tokens at which its weight is 0 (0: twice the context)",
       &dt.attention.reweight_length},
      {"reweight", "cosformer: weight tokens by distance", &dt.attention.reweight},
      {"feature-map",
       "cosformer: feature map of queries and keys, elu (ELU + 1) or relu (the paper's)",
       &dt.attention.feature_map},
      {"window", "local: tokens that each token attends to", &dt.attention.window},
      {"features", "performer: number of random features (0: d ln d)", &dt.attention.features},
      {"context", "context length K in steps", &dt.context},
      {"layers", "number of layers (0: the agent's default, 3 for dt, 2 for bc)", &o.layers},
      {"heads", "number of attention heads", &dt.heads},
      {"width", "hidden width (0: the agent's default, 128 for dt, 256 for bc)", &o.width},
      {"activation", "activation of the MLPs: relu or gelu", &dt.activation},
      {"dropout", "dropout probability", &dt.dropout},
      {"max-timestep",
       "size of the timestep embedding table (0: 1000, or the task's horizon if longer)",
       &o.max_timestep},
      {"timestep-std", "standard deviation of the initial timestep embeddings (the original: 1)",
       &dt.timestep_std},
      {"batch-size", "windows per update", &o.trainer.batch_size},
      {"windows", "windows to sample: any, or whole (none that an episode's end cuts)",
       &o.trainer.windows},
      {"updates", "number of training updates", &o.updates},
      {"lr", "learning rate", &o.trainer.learning_rate},
      {"weight-decay", "weight decay of AdamW", &o.trainer.weight_decay},
      {"warmup", "updates of linear learning-rate warm-up", &o.trainer.warmup},
      {"decay", "updates of cosine learning-rate decay to 0 (0: constant)", &o.trainer.decay},
      {"clip", "clip gradients to this global norm (0: off)", &o.trainer.clip},
      {"return-scale", "divide returns-to-go by this (0: 1000, for a T-maze 1)", &o.return_scale},
      {"precision", "precision of matrix products: fp32, tf32 (GPU only) or bf16",
       &o.trainer.precision},
      {"seed", "seed of weights, windows and dropout", &o.trainer.seed},
      {"save-every", "updates between saves", &o.save_every},
      {"eval-every", "updates between evaluations, whose best agent is kept (0: none)",
       &o.eval_every},
      {"episodes", "episodes per target in an evaluation", &o.episodes},
      {"threads", "threads that train (bit-exact resume takes the same number)", &o.threads},
  };
}

void SetFromText(const TrainField& field, const std::string& text) {
  if (std::visit([&](auto* value) { return ParseText(text, *value); }, field.value)) return;
  throw std::invalid_argument(std::string("--") + field.name + ": expected " + Expected(field) +
                              ", found " + text);
}

void ReadToml(const std::string& source, std::string_view text, TrainOptions& options) {
  const toml::table table = ParseToml(source, text);
  const std::vector<TrainField> fields = TrainFields(options);
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    if (name == "cuda-graph") continue;  // of older configs: a GPU's updates are always recorded
    const auto field = std::ranges::find_if(fields, [&](const auto& f) { return name == f.name; });
    if (field == fields.end()) {
      std::vector<std::string> names;
      for (const TrainField& f : fields) names.emplace_back(f.name);
      throw std::invalid_argument(source + ": " + name + ": expected a known option, such as " +
                                  Nearest(name, names) + ", found " + name);
    }
    if (!std::visit([&, &n = node](auto* value) { return ParseNode(n, *value); }, field->value)) {
      std::ostringstream found;
      node.visit([&](const auto& n) { found << n; });
      throw std::invalid_argument(source + ": " + name + ": expected " + Expected(*field) +
                                  ", found " + found.str());
    }
  }
}

void AddTrainFlags(CLI::App& command, const std::set<std::string>& without, TrainFlags& flags) {
  TrainOptions defaults;
  for (const TrainField& field : TrainFields(defaults)) {
    const std::string name = field.name;
    if (without.contains(name)) continue;
    CLI::Option* option = command.add_option_function<std::string>(
        "--" + name, [&flags, name](const std::string& text) { flags[name] = text; }, field.help);
    option->default_str(ToToml(field));
    option->check([name](const std::string& text) -> std::string {
      TrainOptions scratch;
      try {
        SetFromFlags({{name, text}}, scratch);
      } catch (const std::invalid_argument& e) {
        return e.what();
      }
      return "";
    });
  }
}

void SetFromFlags(const TrainFlags& flags, TrainOptions& options) {
  for (const TrainField& field : TrainFields(options)) {
    const auto flag = flags.find(field.name);
    if (flag != flags.end()) SetFromText(field, flag->second);
  }
}

std::string ReadConfigFile(const std::string& path) {
  if (const std::string why = datasets::WhyNoFile(path); !why.empty()) {
    throw std::invalid_argument(path + ": expected a config file, found " + why);
  }
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<uint64_t> ParseSeeds(const std::string& text) {
  const auto expect = [&](bool good) {
    if (good) return;
    throw CLI::ValidationError("seeds",
                               "expected FIRST-LAST or numbers with commas, found " + text);
  };
  const auto number = [&](const std::string& part) {
    expect(!part.empty() && part.size() <= 18 &&
           std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; }));
    return std::stoull(part);
  };
  std::vector<uint64_t> seeds;
  if (const size_t dash = text.find('-'); dash != std::string::npos) {
    const uint64_t first = number(text.substr(0, dash)), last = number(text.substr(dash + 1));
    expect(first <= last && last - first < 1000);
    for (uint64_t seed = first; seed <= last; ++seed) seeds.push_back(seed);
    return seeds;
  }
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    seeds.push_back(number(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  ExpectDistinct("seeds", seeds);
  return seeds;
}

std::string ToToml(const TrainField& field) {
  std::ostringstream out;
  std::visit(
      [&](const auto* value) {
        using T = std::decay_t<decltype(*value)>;
        if constexpr (std::is_same_v<T, std::vector<double>>) {
          toml::array array;
          for (const double x : *value) array.push_back(x);
          out << array;
        } else if constexpr (std::is_same_v<T, uint64_t>) {
          const bool fits = *value <= INT64_MAX;
          out << (fits ? "" : "\"") << *value << (fits ? "" : "\"");
        } else if constexpr (std::is_same_v<T, double>) {
          out << Shortest(*value);
        } else {
          out << toml::value<T>(*value);
        }
      },
      field.value);
  return out.str();
}

std::string WriteToml(TrainOptions options) {
  std::string text;
  for (const TrainField& field : TrainFields(options)) {
    text += std::string(field.name) + " = " + ToToml(field) + "\n";
  }
  return text;
}

const std::vector<Preset>& Presets() {
  static const std::vector<Preset> presets = {
      {"original-hopper", kOriginalHopperToml},
      {"original-halfcheetah", kOriginalHalfcheetahToml},
      {"original-walker2d", kOriginalWalker2dToml},
      {"corl-hopper", kCorlHopperToml},
      {"corl-halfcheetah", kCorlHalfcheetahToml},
      {"corl-walker2d", kCorlWalker2dToml},
      {"flowformer-hopper", kFlowformerHopperToml},
      {"flowformer-halfcheetah", kFlowformerHalfcheetahToml},
      {"flowformer-walker2d", kFlowformerWalker2dToml},
      {"long-100", kLong100Toml},
      {"long-300", kLong300Toml},
      {"long-1000", kLong1000Toml},
  };
  return presets;
}

const Preset& FindPreset(const std::string& name) {
  std::vector<std::string> names;
  for (const Preset& preset : Presets()) {
    if (name == preset.name) return preset;
    names.emplace_back(preset.name);
  }
  throw std::invalid_argument("preset: expected a known one, such as " + Nearest(name, names) +
                              ", found " + name);
}

std::string Nearest(const std::string& name, const std::vector<std::string>& names) {
  const auto distance = [&](const std::string& other) {
    // Levenshtein's, row by row
    std::vector<size_t> row(other.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 1; i <= name.size(); ++i) {
      size_t diagonal = std::exchange(row[0], i);
      for (size_t j = 1; j <= other.size(); ++j) {
        const size_t changed = diagonal + (name[i - 1] != other[j - 1]);
        diagonal = row[j];
        row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
      }
    }
    return row.back();
  };
  return *std::ranges::min_element(names, {}, distance);
}

}  // namespace cosdt::experiments
