// Reads the chunks of an HDF5 dataset in several threads: HDF5's library, which works in one, says
// where they lie; inflating and converting is done here.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "datasets/chunk_plan.h"
#include "datasets/hdf5_file.h"

namespace cosdt::datasets {

// A stored value in the type asked for: uint8 is a flag, 0 or 1.
template <typename T, typename From>
T Narrow(From x) {
  if constexpr (std::is_same_v<T, uint8_t>) {
    return x != 0;
  } else {
    return static_cast<T>(x);
  }
}

// Reads all chunks of a dataset into `out`, of plan.rows times plan.width values: float, double or
// uint8_t. Throws FileError for damaged ones. The caller does not hold Hdf5Mutex.
template <typename T>
void ReadChunks(const Hdf5File& file, const std::string& key, const ChunkPlan& plan, T* out,
                int threads);

}  // namespace cosdt::datasets
