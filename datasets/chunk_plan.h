// How an HDF5 dataset's values are stored, as ReadArray (array_reader.h) must know it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "datasets/hdf5_file.h"
#include "datasets/hdf5_id.h"

namespace cosdt::datasets {

// A value as stored.
struct Stored {
  enum Kind { kFloat, kSigned, kUnsigned } kind = kFloat;
  size_t bytes = 4;
  bool big_endian = false;
};

// How a dataset's chunks lie and are packed.
struct ChunkPlan {
  hid_t dataset = -1;
  int rank = 1;
  uint64_t rows = 0, width = 0;              // of the dataset
  uint64_t chunk_rows = 0, chunk_width = 0;  // of a chunk
  Stored stored;
  // positions in the pipeline, -1 for a filter that is not used
  int shuffle = -1;
  int deflate = -1;
  int fletcher32 = -1;
  bool plain_edges = false;  // filters leave out chunks that reach beyond the dataset
  // of chunks that were never written; none: they have no value
  std::optional<double> fill = std::nullopt;

  uint64_t row_blocks() const { return (rows + chunk_rows - 1) / chunk_rows; }
  uint64_t columns() const { return (width + chunk_width - 1) / chunk_width; }
  size_t chunk_bytes() const { return chunk_rows * chunk_width * stored.bytes; }
};

// The value of storage that was never written, by HDF5. Nothing if it leaves that open. The caller
// holds Hdf5Mutex, here and below.
std::optional<double> FillValue(hid_t properties);

// Throws FileError for storage that was never written and has no fill value.
[[noreturn]] void ThrowNeverWritten(const Hdf5File& file, const std::string& key);

// Nothing if the dataset, of `rows` times `width` values, is not chunked. Throws FileError for
// chunks that cannot be read: other shapes or filters, or more of them than the file has bytes.
std::optional<ChunkPlan> PlanChunks(const Hdf5File& file, const std::string& key, hid_t dataset,
                                    uint64_t rows, uint64_t width);

}  // namespace cosdt::datasets
