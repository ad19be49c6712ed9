#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "datasets/hdf5_file.h"

namespace cosdt::datasets {

// The key in our own files: "Discrete(4)". Files with continuous actions do not have it.
inline constexpr char kActionSpaceKey[] = "metadata/action_space";

// Minari's: gymnasium's space in JSON, an attribute of its files or a name in metadata.json.
inline constexpr char kMinariActionSpaceKey[] = "action_space";

inline constexpr int kMaxDiscreteActions = 1 << 16;

// A file's array of actions and what it holds. One integer per row is an index of gymnasium's
// Discrete(n); other arrays hold continuous actions.
struct ActionSpace {
  uint64_t rows = 0;
  int size = 0;  // values per row, 1 if discrete
  bool discrete = false;
  int n = 0;  // that the file says; 0 if it does not

  bool SameKind(const ActionSpace& other) const {
    return size == other.size && discrete == other.discrete && n == other.n;
  }
};

// "Discrete(4)", "Discrete(n)" if n is not known, "3 continuous values".
std::string ActionSpaceText(const ActionSpace& space);

// Looks at `key`, an array of actions: of the shape (N, size), or (N,) if they are integers. Leaves
// n open. Throws FileError if it is another array.
ActionSpace DescribeActions(const Hdf5File& file, const std::string& key);

// The same with what the file says of n. Throws FileError if it says that actions are discrete and
// they are not integers.
ActionSpace ReadActionSpace(const Hdf5File& file, const std::string& key);

// n of Discrete(n): the space's, else one more than the highest of `actions` [rows], at least 1;
// 0 if the space is continuous.
int CountDiscreteActions(const ActionSpace& space, std::span<const float> actions);

// Whether an action is an integer from 0 to n - 1.
bool IsDiscreteAction(float action, int n);

// "an integer from 0 to 3".
std::string DiscreteActionText(int n);

}  // namespace cosdt::datasets
