#include "experiments/bench/python_baseline.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <utility>

namespace cosdt::experiments {

PythonBaseline::PythonBaseline(std::string python, const char* script, std::string needs)
    : python_(std::move(python)), needs_(std::move(needs)) {
  char path[] = "/tmp/cosdt_bench_XXXXXX";
  const int file = mkstemp(path);
  if (file < 0) throw std::runtime_error("/tmp: expected room for a temporary file, found none");
  close(file);
  script_ = path;
  std::ofstream(script_) << script;
  library_ = Ask("which");
}

PythonBaseline::~PythonBaseline() { std::remove(script_.c_str()); }

std::string PythonBaseline::Ask(const std::string& arguments) const {
  const std::string command = "'" + python_ + "' " + script_ + " " + arguments;
  FILE* const output = popen(command.c_str(), "r");
  if (!output) throw std::runtime_error("cannot run " + command);
  char line[256] = "";
  const bool read = std::fgets(line, sizeof line, output) != nullptr;
  if (pclose(output) != 0 || !read) {
    std::remove(script_.c_str());
    throw std::runtime_error(python_ + ": expected a Python with " + needs_ + ", found none");
  }
  std::string text(line);
  text.erase(text.find_last_not_of('\n') + 1);
  return text;
}

}  // namespace cosdt::experiments
