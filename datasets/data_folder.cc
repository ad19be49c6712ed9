#include "datasets/data_folder.h"

#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include "datasets/hdf5_file.h"
#include "datasets/known_files.h"

namespace cosdt::datasets {
namespace {

std::string Environment(const char* name) {
  const char* const value = std::getenv(name);
  return value ? value : "";
}

}  // namespace

std::string DataFolder(const std::string& chosen) {
  if (!chosen.empty()) return chosen;
  if (const std::string data = Environment("COSDT_DATA"); !data.empty()) return data;
  if (const std::string cache = Environment("XDG_CACHE_HOME"); !cache.empty()) {
    return cache + "/cosdt";
  }
  const std::string home = Environment("HOME");
  if (home.empty())
    throw std::runtime_error("data folder: expected $HOME or --data-dir, found none");
  return home + "/.cache/cosdt";
}

std::string FindDataset(const std::string& name, const std::string& data_folder) {
  if (std::filesystem::exists(name)) return name;
  const KnownFile* const known = FindKnownFile(name);
  if (!known) throw FileError(name, "", "a file or the name of one of D4RL's", "neither");
  const std::string path = DataFolder(data_folder) + "/" + known->name + ".hdf5";
  if (!std::filesystem::exists(path)) {
    throw FileError(path, "", "what `cosdt data fetch " + name + "` downloads", "none");
  }
  return path;
}

}  // namespace cosdt::datasets
