#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "datasets/hdf5_file.h"

namespace cosdt::datasets {

// Reads the dataset `key` of shape (rows, width), or (rows,) where width is 1, into `out`, which
// holds rows x width numbers in row-major order; the dataset may have any float, integer or bool
// type. T is float, double, or uint8_t: 0 or 1 for numbers that are zero or not.
//
// Chunks (with shuffle, deflate and fletcher32, in this order, or without) are unpacked by
// `threads` threads, inflated by libdeflate; HDF5's library, which knows one thread only, just says
// where they lie. Beside `out` each thread holds one chunk. HDF5's own filters are left out also
// because they trust the sizes of damaged chunks (1.10.8 overruns its buffers). Data that is not
// chunked is read by H5Dread. What was never written is the dataset's fill value. Throws FileError
// where type or shape do not fit, data is damaged, packed otherwise, or neither written nor filled.
template <typename T>
void ReadArray(const Hdf5File& file, const std::string& key, uint64_t rows, uint64_t width,
               std::span<T> out, int threads);

}  // namespace cosdt::datasets
