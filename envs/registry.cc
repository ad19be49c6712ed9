#include "envs/registry.h"

#include <charconv>
#include <optional>
#include <stdexcept>

#include "envs/body_tasks.h"
#include "envs/half_cheetah.h"
#include "envs/hopper.h"
#include "envs/tmaze.h"
#include "envs/walker2d.h"

namespace cosdt::envs {
namespace {

template <typename Body>
std::unique_ptr<MujocoEnv> Make(Physics physics) {
  return std::make_unique<Body>(physics);
}

struct Entry {
  const char* name;
  std::unique_ptr<MujocoEnv> (*make)(Physics physics);
};

constexpr Entry kBodies[] = {
    {"hopper", Make<Hopper>},
    {"halfcheetah", Make<HalfCheetah>},
    {"walker2d", Make<Walker2d>},
};

constexpr std::string_view kPosition = "position", kVelocity = "velocity", kDelayed = "delayed",
                           kDropped = "dropped", kTMaze = "tmaze";

[[noreturn]] void ThrowUnknown(const std::string& expected, std::string_view found) {
  throw std::invalid_argument("env: expected " + expected + ", found '" + std::string(found) + "'");
}

// The number in "dropped-50", or nothing if the string is not of that form. A number has one
// spelling, so that an environment has one name.
std::optional<int> NumberAfter(std::string_view prefix, std::string_view text) {
  if (!text.starts_with(prefix) || !text.substr(prefix.size()).starts_with('-')) return {};
  text.remove_prefix(prefix.size() + 1);
  int number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  const bool whole = error == std::errc() && rest == end;
  if (!whole || std::to_string(number) != text) return {};
  return number;
}

std::unique_ptr<MujocoEnv> MakeBody(std::string_view name, Physics physics) {
  for (const Entry& entry : kBodies) {
    if (name == entry.name) return entry.make(physics);
  }
  return nullptr;
}

}  // namespace

std::vector<std::string> BodyNames() {
  std::vector<std::string> names;
  for (const Entry& entry : kBodies) names.push_back(entry.name);
  return names;
}

EnvName ParseEnvName(std::string_view name) {
  if (const auto corridor = NumberAfter(kTMaze, name)) {
    if (*corridor < 10 || *corridor > 1000) {
      ThrowUnknown("a corridor of 10 to 1000 steps in tmaze-N", name);
    }
    return {"", std::string(kTMaze), *corridor};
  }
  std::string bodies;
  for (const Entry& entry : kBodies) {
    const std::string_view body = entry.name;
    if (name == body) return {std::string(body), ""};
    bodies += (bodies.empty() ? "" : ", ") + std::string(body);
    if (!name.starts_with(body) || !name.substr(body.size()).starts_with('-')) continue;
    const std::string_view task = name.substr(body.size() + 1);
    if (task == kPosition || task == kVelocity || task == kDelayed) {
      return {std::string(body), std::string(task)};
    }
    if (const auto percent = NumberAfter(kDropped, task)) {
      if (*percent < 1 || *percent > 99) {
        ThrowUnknown("a percentage of 1 to 99 in " + std::string(body) + "-dropped-P", name);
      }
      return {std::string(body), std::string(kDropped), *percent};
    }
  }
  ThrowUnknown("one of " + bodies +
                   ", with or without -position, -velocity, -delayed or -dropped-P (P from 1 to "
                   "99), or tmaze-N (N from 10 to 1000)",
               name);
}

std::unique_ptr<Env> MakeEnv(std::string_view name, Physics physics) {
  const EnvName parts = ParseEnvName(name);
  if (parts.task == kTMaze) {
    if (physics != Physics::kD4rl) {
      throw std::invalid_argument("physics: expected none for " + std::string(name) +
                                  ", which has no body, found " + PhysicsName(physics));
    }
    return std::make_unique<TMaze>(parts.number);
  }
  std::unique_ptr<MujocoEnv> body = MakeBody(parts.body, physics);
  const std::string own_name(name);
  // an observation is qpos without x, then qvel
  const int positions = body->nq() - 1;
  if (parts.task == kPosition) {
    return std::make_unique<PartialObservation>(own_name, *body, 0, positions);
  }
  if (parts.task == kVelocity) {
    return std::make_unique<PartialObservation>(own_name, *body, positions, body->nv());
  }
  if (parts.task == kDropped) {
    return std::make_unique<DroppedObservations>(own_name, *body, parts.number);
  }
  if (parts.task == kDelayed) return std::make_unique<DelayedReward>(own_name, *body);
  return body;
}

}  // namespace cosdt::envs
