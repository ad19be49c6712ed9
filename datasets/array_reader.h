#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "datasets/hdf5_file.h"

namespace cosdt::datasets {

// deflate cannot shrink data further than this (RFC 1951: 258 bytes for two bits).
inline constexpr uint64_t kMaxCompression = 1032;

// Reads the dataset `key` of shape (rows, width), or (rows,) if width is 1, into `out`, which holds
// rows x width values in row-major order; the dataset may have any float, integer or bool type. T
// is float, double, or uint8_t: 0 or 1 for values that are zero or not.
//
// Chunks (with shuffle, deflate and fletcher32, in this order, or without) are unpacked by
// `threads` threads, inflated by libdeflate; HDF5's library, which knows one thread only, just says
// where they lie. Besides `out` each thread holds one chunk. HDF5's own filters are left out also
// because they trust the sizes of damaged chunks (1.10.8 overruns its buffers). Data that is not
// chunked is read by H5Dread. Storage that was never written has the dataset's fill value. Throws
// FileError if type or shape do not fit, data is damaged, packed otherwise, or neither written nor
// filled.
template <typename T>
void ReadArray(const Hdf5File& file, const std::string& key, uint64_t rows, uint64_t width,
               std::span<T> out, int threads);

}  // namespace cosdt::datasets
