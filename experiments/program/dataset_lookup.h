// Datasets by the names that users have for them.
#pragma once

#include <cstdint>
#include <string>

namespace cosdt::experiments {

// The path of a dataset given as a path, by D4RL's name, or as one of agents::DemoDatasets().
// Throws datasets::FileError if there is no such file; a demo dataset may still have to be made.
std::string DatasetPath(const std::string& name, const std::string& data_dir);

// The same; a demo dataset is made in the data folder if it is missing.
std::string FindOrMakeDataset(const std::string& name, const std::string& data_dir);

// Makes a demo dataset in the data folder, replacing any that is there, and returns its path.
// transitions 0 is its usual size.
std::string MakeDemoDataset(const std::string& name, const std::string& data_dir,
                            int64_t transitions);

}  // namespace cosdt::experiments
