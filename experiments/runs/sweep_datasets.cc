#include "experiments/runs/sweep_datasets.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <map>
#include <stdexcept>

#include "agents/behaviour/demo_datasets.h"
#include "datasets/known_files.h"
#include "experiments/program/dataset_lookup.h"
#include "experiments/program/utf8.h"

namespace cosdt::experiments {
namespace {

namespace fs = std::filesystem;

// Where a file's name begins in its path.
struct NamedPath {
  std::vector<std::string> parts;  // without ROOT/ and .hdf5
  size_t first = 0;

  std::string Name() const {
    std::string name;
    for (size_t i = first; i < parts.size(); ++i) name += (i > first ? "/" : "") + parts[i];
    return name;
  }
};

NamedPath NameOf(const std::string& path) {
  const fs::path absolute = fs::weakly_canonical(path);
  NamedPath named;
  for (const fs::path& part : absolute.relative_path()) named.parts.push_back(part.string());
  std::vector<std::string>& parts = named.parts;
  if (parts.size() >= 3 && absolute.filename() == "main_data.hdf5") {
    // Minari's: ROOT/ID/data/main_data.hdf5, where ID has parts of its own and ROOT is "datasets"
    parts.resize(parts.size() - 2);
    const auto root = std::ranges::find(parts.rbegin(), parts.rend(), "datasets");
    const bool known = root != parts.rend() && root != parts.rbegin();
    named.first = known ? static_cast<size_t>(parts.rend() - root) : parts.size() - 1;
    return named;
  }
  parts.back() = absolute.stem().string();
  named.first = parts.size() - 1;
  const bool demo = parts.size() >= 2 && agents::IsDemoDataset("demo/" + parts.back()) &&
                    parts[parts.size() - 2] == "demo";
  if (demo) --named.first;
  if (datasets::FindKnownFile(parts.back())) std::ranges::replace(parts.back(), '_', '-');
  return named;
}

}  // namespace

std::vector<SweepDataset> FindSweepDatasets(const std::vector<std::string>& given,
                                            const std::string& data_dir) {
  std::vector<SweepDataset> found;
  std::vector<NamedPath> names;
  std::map<fs::path, std::string> files;
  for (const std::string& name : given) {
    ExpectUtf8("datasets", name);
    std::string path;
    try {
      path = DatasetPath(name, data_dir);
    } catch (const std::exception& e) {
      throw std::invalid_argument("datasets: " + std::string(e.what()));
    }
    ExpectUtf8("datasets", path);
    const auto [first, added] = files.try_emplace(fs::weakly_canonical(path), name);
    if (!added) {
      throw CLI::ValidationError("datasets", "expected each one once, found " + first->second +
                                                 " and " + name + ", which are the same file");
    }
    found.push_back({name, path, ""});
    names.push_back(NameOf(path));
  }
  for (bool unique = false; !unique;) {
    std::map<std::string, size_t> count;
    for (const NamedPath& name : names) ++count[name.Name()];
    unique = true;
    for (NamedPath& name : names) {
      if (count[name.Name()] == 1 || name.first == 0) continue;
      unique = false;
      --name.first;
    }
  }
  for (size_t i = 0; i < found.size(); ++i) found[i].name = names[i].Name();
  return found;
}

}  // namespace cosdt::experiments
