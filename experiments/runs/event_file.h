// TensorBoard's event files: records of a length, a masked CRC-32C of it, a protobuf Event and a
// masked CRC-32C of that (tensorflow/core/lib/io/record_writer.h,
// tensorflow/core/util/event.proto).
#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <string>
#include <string_view>

namespace cosdt::experiments {

class EventFile {
 public:
  // Begins a new file in the folder, which replaces values of other files from `first_step` on.
  // Throws std::runtime_error if it cannot be written.
  EventFile(const std::string& folder, int64_t first_step);

  // Scalars by their tag. Throws std::runtime_error.
  void Write(int64_t step, const std::map<std::string, double>& scalars);

 private:
  void WriteRecord(std::string_view data);

  std::string path_;
  std::ofstream file_;
};

// The Castagnoli polynomial's CRC (RFC 3720, appendix B.4).
uint32_t Crc32c(std::string_view bytes);

}  // namespace cosdt::experiments
