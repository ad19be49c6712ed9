#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace cosdt::datasets {

// Makes of arbitrary bytes an HDF5 file in D4RL's or Minari's layout whose values, shapes, types,
// chunk data and filter masks are wrong in whatever way the bytes say (its HDF5 metadata are those
// that the library writes), then reads and checks it. Anything but a result or a FileError is an
// error in our code: it escapes as another exception, or as a sanitizer's report.
void FuzzFile(std::span<const uint8_t> bytes, const std::string& path);

}  // namespace cosdt::datasets
