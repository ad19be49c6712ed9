#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "datasets/d4rl_file.h"
#include "datasets/hdf5_writer.h"
#include "datasets/minari_file.h"
#include "datasets/unset_vector.h"

namespace cosdt::datasets {

// A D4RL file's arrays by step, as they stand in it. What a file has not is empty.
struct Transitions {
  std::string task;     // "hopper-position", see D4rlFile::ReadTask; "" for a body as it is
  std::string physics;  // that a body moved in, and the simulator's version: recorded_env.h; ""
  std::string mujoco_version;  // where the file does not say
  int observation_size = 0;
  int action_size = 0;
  int nq = 0;
  int nv = 0;
  FloatVector observations;        // [rows, observation_size]
  FloatVector actions;             // [rows, action_size]
  FloatVector rewards;             // [rows]
  FloatVector next_observations;   // [rows, observation_size]
  FloatVector log_probs;           // [rows]
  UnsetVector<double> qpos;        // [rows, nq], before the step
  UnsetVector<double> qvel;        // [rows, nv]
  std::vector<uint8_t> terminals;  // [rows], 0 or 1
  std::vector<uint8_t> timeouts;   // [rows]

  size_t rows() const { return rewards.size(); }
};

// Adds `from` to the end of `to`, whose sizes and task must be the same; an empty `to` takes them
// over.
void Append(Transitions& to, const Transitions& from);

// Keeps the first `rows`, of which there must be as many.
void Resize(Transitions& transitions, size_t rows);

// Reads all of it. Throws FileError.
Transitions ReadTransitions(const D4rlFile& file);

// Reads a Minari file as the rows of a D4RL file. Where episodes end follows from the file's cuts:
// one that neither terminates nor is truncated leaves no flag. Throws FileError.
Transitions ReadTransitions(const MinariFile& file);

// Writes what is there under D4RL's keys. Throws std::runtime_error.
void WriteTransitions(const Transitions& transitions, Hdf5Writer& writer);

// Writes the complete episodes of several files one after the other, as D4RL's medium-expert files
// have them: the arrays by step that all files have, and of metadata the task and the physics.
// Files without timeouts are cut at `horizon`; a file that does not say its physics goes with
// d4rl's alone, and then the result does not say it either. Throws FileError where files do not fit
// each other, std::runtime_error where writing fails.
void ConcatFiles(const std::vector<std::string>& paths, const std::string& out, int threads,
                 size_t horizon = 1000);

}  // namespace cosdt::datasets
