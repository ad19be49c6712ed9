#pragma once

#include <string>

namespace cosdt::datasets {

// Where downloaded files are kept: `chosen` if it is not empty, else $COSDT_DATA, else
// $XDG_CACHE_HOME/cosdt, else ~/.cache/cosdt. Throws std::runtime_error if there is no home.
std::string DataFolder(const std::string& chosen);

// Whether there is something of that name that is no folder: a folder never stands for a file.
bool IsFile(const std::string& path);

// The path of a dataset given as a path, by D4RL's name ("hopper-medium-v2") or by Minari's
// ("mujoco/hopper/medium-v0"), which are looked up in the data folder. Throws FileError if neither
// is there, or just a folder.
std::string FindDataset(const std::string& name, const std::string& data_folder);

}  // namespace cosdt::datasets
