#pragma once

#include <string>

#include "agents/models/checkpoint.h"
#include "experiments/scores/results.h"

namespace cosdt::experiments {

// A trained critic with its checkpoint's path and SHA-256.
struct CriticFile {
  agents::Checkpoint checkpoint;
  FileIdentity file;
};

// Reads a critic from a run's folder or a checkpoint. Throws FileError if it is damaged, and
// std::invalid_argument, naming both, if there is none or it is not one of this environment that
// learned from this dataset.
CriticFile ReadCriticFile(const std::string& given, const std::string& env,
                          const FileIdentity& dataset);

}  // namespace cosdt::experiments
