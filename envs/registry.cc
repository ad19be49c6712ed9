#include "envs/registry.h"

#include <stdexcept>

#include "envs/half_cheetah.h"
#include "envs/hopper.h"
#include "envs/walker2d.h"

namespace cosdt::envs {
namespace {

template <typename Body>
std::unique_ptr<Env> Make(Physics physics) {
  return std::make_unique<Body>(physics);
}

struct Entry {
  const char* name;
  std::unique_ptr<Env> (*make)(Physics physics);
};

constexpr Entry kEntries[] = {
    {"hopper", Make<Hopper>},
    {"halfcheetah", Make<HalfCheetah>},
    {"walker2d", Make<Walker2d>},
};

}  // namespace

std::vector<std::string> EnvNames() {
  std::vector<std::string> names;
  for (const Entry& entry : kEntries) names.push_back(entry.name);
  return names;
}

std::unique_ptr<Env> MakeEnv(std::string_view name, Physics physics) {
  std::string known;
  for (const Entry& entry : kEntries) {
    if (name == entry.name) return entry.make(physics);
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw std::invalid_argument("env: expected one of " + known + ", found '" + std::string(name) +
                              "'");
}

}  // namespace cosdt::envs
