#pragma once

#include <sys/wait.h>

#include <cstdio>
#include <string>

namespace cosdt {

struct ProgramResult {
  int exit_code = -1;
  std::string output;  // standard output, and standard error if asked for
};

// Runs the built `cosdt` through the shell; `arguments` may hold redirections, `environment`
// assignments before the command.
inline ProgramResult RunProgram(const std::string& arguments, const std::string& environment = "") {
  const std::string command = environment + " '" COSDT_PROGRAM "' " + arguments;
  ProgramResult result;
  FILE* const pipe = popen(command.c_str(), "r");
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) result.output.append(buffer, n);
  const int status = pclose(pipe);
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  return result;
}

}  // namespace cosdt
