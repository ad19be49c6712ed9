#pragma once

#include <stdexcept>
#include <string>

namespace cosdt::datasets {

// An error in a file, in one line: "FILE: KEY: expected EXPECTED, found FOUND".
class FileError : public std::runtime_error {
 public:
  FileError(const std::string& file, const std::string& key, const std::string& expected,
            const std::string& found)
      : std::runtime_error(file + ": " + (key.empty() ? "" : key + ": ") + "expected " + expected +
                           ", found " + found),
        key_(key),
        expected_(expected),
        found_(found) {}

  // Empty if the file as a whole is meant.
  const std::string& key() const { return key_; }
  const std::string& expected() const { return expected_; }
  const std::string& found() const { return found_; }

 private:
  std::string key_, expected_, found_;
};

}  // namespace cosdt::datasets
