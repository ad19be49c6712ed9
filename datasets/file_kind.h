#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace cosdt::datasets {

// Why a path cannot be read as a file, for a message's "found ..": "none", "a folder",
// "a FIFO", "a device", "a socket" or "no permission to read it". "" if nothing does. It is
// looked at, not opened: opening a FIFO waits for a writer.
std::string WhyNoFile(const std::string& path);

// The kind of a file that is no HDF5 file, by its first bytes (512 are enough), for a message's
// "found ..": "a web page", "a Git LFS pointer (..)", "a pickle", "a zip archive (..)", .., "text",
// or "other data".
std::string KindOfBytes(std::span<const uint8_t> head);

}  // namespace cosdt::datasets
