#pragma once

#include <string>

namespace cosdt::experiments {

// A script that measures a baseline in the user's Python. It is kept as a temporary file, as its
// output is read through a pipe.
class PythonBaseline {
 public:
  // `needs` names the packages that the script imports, for the error if one is missing. Asks the
  // script "which" library it measures. Throws std::runtime_error.
  PythonBaseline(std::string python, const char* script, std::string needs);
  ~PythonBaseline();
  PythonBaseline(const PythonBaseline&) = delete;
  PythonBaseline& operator=(const PythonBaseline&) = delete;

  // The library's name and version, "h5py 3.16.0".
  const std::string& library() const { return library_; }

  // The first line that the script prints for these arguments.
  std::string Ask(const std::string& arguments) const;

 private:
  std::string python_, script_, needs_, library_;
};

}  // namespace cosdt::experiments
