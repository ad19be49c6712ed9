#pragma once

#include <string>

#include "datasets/hdf5_writer.h"
#include "datasets/transitions.h"
#include "tests/datasets/test_file.h"

namespace cosdt::datasets {

// Writes one hopper-sized episode of two steps with what `t` says of its task and physics, and
// returns the file's path.
inline std::string WriteSmallFile(const TestFile& folder, const std::string& name, Transitions t) {
  t.observation_size = 11;
  t.action_size = 3;
  t.observations.assign(22, 0);
  t.actions.assign(6, 0);
  t.rewards.assign(2, 1);
  t.terminals = {0, 1};
  t.timeouts = {0, 0};
  const std::string path = folder.folder() + "/" + name;
  Hdf5Writer writer(path);
  WriteTransitions(t, writer);
  writer.Commit();
  return path;
}

}  // namespace cosdt::datasets
