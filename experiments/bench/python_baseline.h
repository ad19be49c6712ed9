#pragma once

#include <string>

namespace cosdt::experiments {

// A script that runs in the user's Python, for measuring what else could be used. It is kept as a
// temporary file, because its output is read through a pipe.
class PythonRival {
 public:
  // `needs` names the packages that the script imports, for the message where that fails. Asks the
  // script "which" it measures. Throws std::runtime_error.
  PythonRival(std::string python, const char* script, std::string needs);
  ~PythonRival();
  PythonRival(const PythonRival&) = delete;
  PythonRival& operator=(const PythonRival&) = delete;

  // The library's name and version, "h5py 3.16.0".
  const std::string& library() const { return library_; }

  // The first line that the script prints for these arguments.
  std::string Ask(const std::string& arguments) const;

 private:
  std::string python_, script_, needs_, library_;
};

}  // namespace cosdt::experiments
