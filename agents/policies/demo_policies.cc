#include "agents/policies/demo_policies.h"

#include <stdexcept>

#include "agents/policies/embedded_files.h"

namespace cosdt::agents {

std::vector<std::string> DemoPolicies() {
  std::vector<std::string> names;
  for (const EmbeddedFile& file : EmbeddedFiles()) {
    names.push_back("demo/" + std::string(file.name));
  }
  return names;
}

std::unique_ptr<datasets::Hdf5File> OpenDemoPolicy(const std::string& name) {
  std::string names;
  for (const EmbeddedFile& file : EmbeddedFiles()) {
    const std::string policy = "demo/" + std::string(file.name);
    if (policy == name) return std::make_unique<datasets::Hdf5File>(name, file.bytes);
    names += (names.empty() ? "" : ", ") + policy;
  }
  throw std::invalid_argument("policy: expected one of " + names + ", found '" + name + "'");
}

}  // namespace cosdt::agents
