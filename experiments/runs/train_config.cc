#include "experiments/runs/train_config.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <numeric>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "datasets/file_kind.h"
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
bool ParseText(std::string_view text, std::vector<agents::Target>& value) {
  value.clear();
  while (true) {
    const size_t comma = text.find(',');
    const std::optional<agents::Target> target = agents::ParseTarget(text.substr(0, comma));
    if (!target || !(target->is_auto() || std::isfinite(target->value()))) return false;
    value.push_back(*target);
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
  // beyond TOML's range, values are strings
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
bool ParseNode(const toml::node& node, std::vector<agents::Target>& value) {
  value.clear();
  const auto add = [&](const toml::node& n) {
    double number = 0;
    const bool is_auto = n.value<std::string_view>() == agents::kAutoTarget;
    if (!is_auto && !ParseNode(n, number)) return false;
    value.push_back(is_auto ? agents::Target::Auto() : number);
    return true;
  };
  return node.is_array() ? std::ranges::all_of(*node.as_array(), add)
                         : node.is_string() && add(node);
}

const char* Expected(const TrainField& field) {
  constexpr const char* kNames[] = {"a whole number", "a whole number, not negative",
                                    "a number",       "a string",
                                    "true or false",  "numbers or auto"};
  return kNames[field.values[0].index()];
}

// Sets the option by parse(pointer to a value), which returns whether it could.
template <class ParseValue>
bool SetValues(const TrainField& field, const ParseValue& parse) {
  return std::ranges::all_of(field.values,
                             [&](const TrainValue& value) { return std::visit(parse, value); });
}

// The shortest decimal that reads back as the same number; a TOML float has a point or an exponent.
std::string Shortest(double number) {
  char text[32];
  std::string out(text, std::to_chars(text, text + sizeof text, number).ptr);
  const bool whole = out.find_first_not_of("-0123456789") == std::string::npos;
  return whole ? out + ".0" : out;
}

// Adds --NAME, which sets the option `sets`.
CLI::Option* AddTrainFlag(CLI::App& command, const std::string& name, const std::string& sets,
                          const std::string& help, TrainFlags& flags) {
  CLI::Option* option = command.add_option_function<std::string>(
      "--" + name, [&flags, sets](const std::string& text) { flags[sets] = text; }, help);
  return option->check([sets](const std::string& text) -> std::string {
    TrainOptions scratch;
    try {
      SetFromFlags({{sets, text}}, scratch);
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "";
  });
}

}  // namespace

void SetFromText(const TrainField& field, const std::string& text) {
  if (SetValues(field, [&](auto* value) { return ParseText(text, *value); })) return;
  throw std::invalid_argument("--" + field.name + ": expected " + Expected(field) + ", found " +
                              text);
}

void ReadToml(const std::string& source, std::string_view text, TrainOptions& options) {
  const toml::table table = ParseToml(source, text);
  const std::vector<TrainField> fields = TrainFields(options);
  for (const auto& [key, node] : table) {
    const std::string given(key.str()), name = CurrentOptionName(given);
    if (name == "cuda-graph") continue;  // of older configs: a GPU's updates are always recorded
    const auto field = std::ranges::find(fields, name, &TrainField::name);
    if (field == fields.end()) {
      std::vector<std::string> names;
      for (const TrainField& f : fields) names.push_back(f.name);
      throw std::invalid_argument(source + ": " + given + ": expected a known option, such as " +
                                  Nearest(given, names) + ", found " + given);
    }
    if (!SetValues(*field, [&, &n = node](auto* value) { return ParseNode(n, *value); })) {
      std::ostringstream found;
      node.visit([&](const auto& n) { found << n; });
      throw std::invalid_argument(source + ": " + given + ": expected " + Expected(*field) +
                                  ", found " + found.str());
    }
  }
}

void AddTrainFlags(CLI::App& command, const std::set<std::string>& without, TrainFlags& flags) {
  TrainOptions defaults;
  for (const TrainField& field : TrainFields(defaults)) {
    if (field.config_only || without.contains(field.name)) continue;
    AddTrainFlag(command, field.name, field.name, field.help, flags)->default_str(ToToml(field));
    for (const RenamedOption& option : kRenamedOptions) {
      if (option.now != field.name) continue;
      AddTrainFlag(command, option.before, field.name, "", flags)->group("");  // not in --help
    }
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
        if constexpr (std::is_same_v<T, std::vector<agents::Target>>) {
          toml::array array;
          for (const agents::Target& x : *value) {
            if (x.is_auto()) {
              array.push_back(agents::kAutoTarget);
            } else {
              array.push_back(x.value());
            }
          }
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
      field.values[0]);
  return out.str();
}

std::string WriteToml(TrainOptions options) {
  std::string text;
  for (const TrainField& field : TrainFields(options)) {
    text += field.name + " = " + ToToml(field) + "\n";
  }
  return text;
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
