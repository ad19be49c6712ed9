#pragma once

#include <optional>
#include <string>

#include "datasets/body.h"
#include "datasets/hdf5_file.h"
#include "datasets/known_files.h"

namespace cosdt::datasets {

// Keys of our own files.
inline constexpr char kPhysicsKey[] = "metadata/physics";
inline constexpr char kMujocoVersionKey[] = "metadata/mujoco_version";

// gymnasium's EnvSpec in JSON, an attribute of Minari's files or a name in metadata.json.
inline constexpr char kEnvSpecKey[] = "env_spec";

// The source if a file is known as D4RL's own.
inline constexpr char kD4rlsList[] = "the list of D4RL's files";

// The environment that a file says it was made in.
struct RecordedEnv {
  std::string source;  // what says it: kPhysicsKey, kEnvSpecKey or kD4rlsList; "" if nothing does
  std::string id;      // gymnasium's name ("Hopper-v5"), "" if only metadata/physics is there
  const Body* body = nullptr;  // that the id names; null if it names another or there is none
  std::string physics;         // "d4rl", "gymnasium-v4", "gymnasium-v5" or ""
  std::string mujoco_version;  // of the library that made it, or ""
  std::string unlike;          // of a body: why no physics mode is its environment
                               // ("frame_skip = 8"), or ""
  std::optional<int> horizon;  // of the id: steps after which an episode is truncated
};

// Reads it from, in this order,
//   metadata/physics and metadata/mujoco_version, which this project's writers leave;
//   env_spec, gymnasium's EnvSpec in JSON: an attribute of Minari's files, or in metadata.json
//   next to main_data.hdf5. Versions 2 and 3 ran on MuJoCo before 2.1.1, as D4RL did;
//   name and size of D4RL's own files (known_files.h), or `known`, what the hash is known as.
// Throws FileError if that cannot be read.
RecordedEnv ReadRecordedEnv(const Hdf5File& file, const KnownFile* known = nullptr);

// n if a Minari file says that its actions are gymnasium's Discrete(n), else 0. Throws FileError if
// they do not start from 0 or it cannot be read.
int ReadMinariDiscrete(const Hdf5File& file);

// The body that a file is of: the one that its record names, if the sizes are that body's; none if
// the record names an environment that is no body; else the one that GuessBody finds.
const Body* BodyOf(const RecordedEnv& recorded, const std::string& path, int observation_size,
                   int action_size, float first_height);

// Its simulation, in words: "gymnasium-v5 physics", "Hopper-v5 (frame_skip = 8)".
std::string EnvText(const RecordedEnv& recorded);

// The same with its source: "gymnasium-v5 physics, as env_spec says (Hopper-v5)", "unknown".
std::string RecordText(const RecordedEnv& recorded);

}  // namespace cosdt::datasets
