#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "datasets/d4rl_file.h"
#include "datasets/hdf5_writer.h"
#include "datasets/minari_file.h"
#include "datasets/unset_vector.h"

namespace cosdt::datasets {

// A D4RL file's arrays by step, as they stand in it. Arrays that a file lacks are empty.
struct Transitions {
  std::string task;     // "hopper-position", see D4rlFile::ReadTask; "" for a body as it is
  std::string physics;  // that a body moved in, and the simulator's version: recorded_env.h; ""
  std::string mujoco_version;  // if the file does not say
  int observation_size = 0;
  int action_size = 0;
  int discrete_actions =
      0;  // n of Discrete(n), see Episodes; which actions there are is not checked
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

// Reads a Minari file as the rows of a D4RL file. The file's cuts say how episodes end: one that
// neither terminates nor is truncated leaves no flag. Throws FileError.
Transitions ReadTransitions(const MinariFile& file);

// Writes the arrays that are there under D4RL's keys. Throws std::runtime_error.
void WriteTransitions(const Transitions& transitions, Hdf5Writer& writer);

// Writes discrete actions [rows], of Discrete(n), as integers (N,).
void WriteDiscreteActions(std::span<const float> actions, int n, Hdf5Writer& writer);

// Writes where a file was made (recorded_env.h); "" is left out.
void WriteOrigin(const std::string& task, const std::string& physics,
                 const std::string& mujoco_version, Hdf5Writer& writer);

}  // namespace cosdt::datasets
