#include "datasets/data_folder.h"

#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include "datasets/file_error.h"
#include "datasets/known_files.h"

namespace cosdt::datasets {
namespace {

std::string Environment(const char* name) {
  const char* const value = std::getenv(name);
  return value ? value : "";
}

bool IsFolder(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error);
}

// For a name that is no file's: what it is. A Minari dataset's folder comes with the file to name.
std::string WhatIsThere(const std::string& name) {
  if (!IsFolder(name)) return "neither";
  for (const char* const inner : {"data/main_data.hdf5", "main_data.hdf5"}) {
    const std::string file = std::filesystem::path(name) / inner;
    if (IsFile(file)) return "a folder; its file is " + file;
  }
  return "a folder";
}

}  // namespace

bool IsFile(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error) && !IsFolder(path);
}

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
  if (IsFile(name)) return name;
  const KnownFile* const known = FindKnownFile(name);
  if (!known) {
    const std::string minari = DataFolder(data_folder) + "/" + name + "/data/main_data.hdf5";
    if (IsFile(minari)) return minari;
    throw FileError(name, "", "a file or the name of one of D4RL's", WhatIsThere(name));
  }
  const std::string path = DataFolder(data_folder) + "/" + known->name + ".hdf5";
  if (!IsFile(path)) {
    throw FileError(path, "", "what `cosdt data fetch " + name + "` downloads",
                    IsFolder(path) ? "a folder" : "none");
  }
  return path;
}

}  // namespace cosdt::datasets
