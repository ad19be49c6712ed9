#include "experiments/runs/sweep.h"

#include <algorithm>
#include <map>
#include <sstream>
#include <stdexcept>

#include "experiments/program/toml_table.h"
#include "experiments/runs/sweep_datasets.h"
#include "experiments/runs/train_config.h"

namespace cosdt::experiments {
namespace {

const std::vector<std::string> kBaselines = {"bc", "bc-10%", "td3bc", "rebrac", "iql"};

std::string Text(const toml::node& node) {
  std::ostringstream out;
  node.visit([&](const auto& n) { out << n; });
  return out.str();
}

template <class T>
void ReadArray(const std::string& where, const toml::node& node, std::vector<T>& to) {
  const auto fail = [&] {
    throw std::invalid_argument(where + ": expected an array of " +
                                (std::is_same_v<T, std::string> ? "strings" : "whole numbers") +
                                ", found " + Text(node));
  };
  if (!node.is_array()) fail();
  to.clear();
  for (const toml::node& n : *node.as_array()) {
    const auto value =
        n.value_exact<std::conditional_t<std::is_same_v<T, std::string>, T, int64_t>>();
    if (!value || (std::is_same_v<T, uint64_t> && n.value_or<int64_t>(0) < 0)) fail();
    to.push_back(static_cast<T>(*value));
  }
}

// A folder's name: characters that a shell or a file system might not take become dashes.
std::string FolderName(std::string name) {
  for (char& c : name) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_';
    if (!plain) c = '-';
  }
  const size_t first = name.find_first_not_of(".-");
  return first == std::string::npos ? "data" : name.substr(first);
}

void Expect(bool good, const std::string& message) {
  if (!good) throw std::invalid_argument(message);
}

// A table of options for `cosdt train`, as TOML for ReadToml.
std::string OptionTable(const std::string& where, const toml::node& node) {
  Expect(node.is_table(), where + ": expected a table, found " + Text(node));
  for (const auto& [key, value] : *node.as_table()) {
    const std::string name(key.str());
    Expect(!kCellOptions.contains(name),
           where + ": " + name + ": expected options that all cells share, found a cell's own");
  }
  return Text(node);
}

// A Decision Transformer's cell, or a baseline's, whose context is 1.
Cell MakeCell(const Sweep& sweep, const SweepDataset& dataset, const std::string& kind,
              int64_t context, uint64_t seed) {
  Cell cell;
  cell.data = dataset.path;
  TrainOptions& o = cell.options;
  o = sweep.train;
  if (const auto own = sweep.per_dataset.find(dataset.given); own != sweep.per_dataset.end()) {
    ReadToml("[dataset.\"" + dataset.given + "\"]", own->second, o);
  }
  o.dataset = dataset.given;
  o.trainer.seed = seed;
  const bool baseline = std::ranges::find(kBaselines, kind) != kBaselines.end();
  if (baseline) {
    o.agent.kind = kind == "bc-10%" ? "bc" : kind;
    // the baseline's defaults, whatever the sweep's agents have
    o.agent.SetShape(0, 0);
    o.critic.clear();
    std::erase(o.targets, agents::Target::Auto());
    if (o.agent.has_critics()) {
      o.targets.clear();
      o.trainer = TrainOptions().trainer;
      o.trainer.seed = seed;
      if (kind == "iql") o.trainer.lr_decay = o.updates;
    } else {
      o.trainer.batch_size = std::max<int64_t>(256, o.trainer.batch_size);
    }
    if (kind == "bc-10%") o.top = 10;
  } else {
    o.agent.kind = "dt";
    o.agent.dt.attention.kind = kind;
    o.agent.dt.context = context;
    const int64_t longest = std::ranges::max(sweep.contexts);
    if (sweep.budget == "tokens") {
      int64_t tokens = 0;
      Expect(!__builtin_mul_overflow(o.updates, longest, &tokens),
             "updates: expected a number of updates that fits when multiplied by contexts, found " +
                 std::to_string(o.updates));
      o.updates = tokens / context;
    }
  }
  const std::string folder =
      baseline ? FolderName(kind) : FolderName(kind) + "-K" + std::to_string(context);
  cell.name = FolderName(dataset.name) + "/" + folder + "/seed-" + std::to_string(seed);

  try {
    o.ValidateForAnyData();
  } catch (const c10::Error& e) {
    throw std::invalid_argument(cell.name + ": " + e.what_without_backtrace());
  } catch (const std::invalid_argument& e) {
    throw std::invalid_argument(cell.name + ": " + e.what());
  }
  return cell;
}

}  // namespace

void ReadSweep(const std::string& source, std::string_view text, Sweep& sweep) {
  const toml::table table = ParseToml(source, text);
  const std::vector<std::string> names = {"datasets", "attention", "contexts", "baselines",
                                          "seeds",    "budget",    "train",    "dataset"};
  for (const auto& [key, node] : table) {
    const std::string name(key.str()), where = source + ": " + name;
    if (name == "datasets") {
      ReadArray(where, node, sweep.datasets);
    } else if (name == "attention") {
      ReadArray(where, node, sweep.attention);
    } else if (name == "contexts") {
      ReadArray(where, node, sweep.contexts);
    } else if (name == "baselines") {
      ReadArray(where, node, sweep.baselines);
    } else if (name == "seeds") {
      if (node.is_string()) {
        try {
          sweep.seeds = ParseSeeds(**node.as_string());
        } catch (const std::exception& e) {
          throw std::invalid_argument(source + ": " + e.what());
        }
      } else {
        ReadArray(where, node, sweep.seeds);
      }
    } else if (name == "budget" || name == "equal") {  // as it was called once
      Expect(node.is_string(), where + ": expected updates or tokens, found " + Text(node));
      sweep.budget = **node.as_string();
    } else if (name == "train") {
      ReadToml(source + ": [train]", OptionTable(where, node), sweep.train);
    } else if (name == "dataset") {
      Expect(node.is_table(), where + ": expected tables, found " + Text(node));
      for (const auto& [dataset, own] : *node.as_table()) {
        const std::string name_of(dataset.str());
        sweep.per_dataset[name_of] = OptionTable(where + "." + name_of, own);
      }
    } else {
      throw std::invalid_argument(where + ": expected a known name, such as " +
                                  Nearest(name, names) + ", found " + name);
    }
  }
}

std::vector<Cell> MakeCells(const Sweep& sweep, const std::string& data_dir) {
  Expect(!sweep.datasets.empty(), "datasets: expected at least one, found none");
  Expect(!sweep.seeds.empty(), "seeds: expected at least one, found none");
  Expect(!sweep.attention.empty() || !sweep.baselines.empty(),
         "attention: expected at least one kind or baseline, found none");
  Expect(sweep.attention.empty() || !sweep.contexts.empty(),
         "contexts: expected at least one, found none");
  Expect(sweep.budget == "updates" || sweep.budget == "tokens",
         "budget: expected updates or tokens, found " + sweep.budget);
  for (const int64_t context : sweep.contexts) {
    Expect(context >= 1 && context <= agents::kLongestContext,
           "contexts: expected 1 to 1000000, found " + std::to_string(context));
  }
  for (const std::string& name : sweep.baselines) {
    Expect(std::ranges::find(kBaselines, name) != kBaselines.end(),
           "baselines: expected bc, bc-10%, td3bc, rebrac or iql, found " + name);
  }
  ExpectDistinct("seeds", sweep.seeds);
  ExpectDistinct("contexts", sweep.contexts);
  ExpectDistinct("attention", sweep.attention);
  ExpectDistinct("baselines", sweep.baselines);
  ExpectDistinct("datasets", sweep.datasets);
  const std::vector<SweepDataset> datasets = FindSweepDatasets(sweep.datasets, data_dir);
  for (const auto& [name, own] : sweep.per_dataset) {
    Expect(std::ranges::find(sweep.datasets, name) != sweep.datasets.end(),
           "dataset." + name + ": expected one of the sweep's datasets, found another");
  }
  std::vector<Cell> cells;
  for (const uint64_t seed : sweep.seeds) {
    for (const SweepDataset& dataset : datasets) {
      for (const int64_t context : sweep.contexts) {
        for (const std::string& kind : sweep.attention) {
          cells.push_back(MakeCell(sweep, dataset, kind, context, seed));
        }
      }
      for (const std::string& kind : sweep.baselines) {
        cells.push_back(MakeCell(sweep, dataset, kind, 1, seed));
      }
    }
  }
  std::map<std::string, std::string> dataset_of;  // by the cell's name
  for (const Cell& cell : cells) {
    const auto [other, added] = dataset_of.emplace(cell.name, cell.options.dataset);
    Expect(added, cell.name + ": expected one cell of this name, found those of " + other->second +
                      " and " + cell.options.dataset);
  }
  return cells;
}

}  // namespace cosdt::experiments
