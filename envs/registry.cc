#include "envs/registry.h"

#include <charconv>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <utility>

#include "envs/autoencode.h"
#include "envs/body_tasks.h"
#include "envs/count_recall.h"
#include "envs/half_cheetah.h"
#include "envs/higher_lower.h"
#include "envs/hopper.h"
#include "envs/position_only_cart_pole.h"
#include "envs/position_only_pendulum.h"
#include "envs/repeat_first.h"
#include "envs/repeat_previous.h"
#include "envs/tmaze.h"
#include "envs/walked_tmaze.h"
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
  std::string (*mjcf)(Physics physics);
};

constexpr Entry kBodies[] = {
    {"hopper", Make<Hopper>, Hopper::Mjcf},
    {"halfcheetah", Make<HalfCheetah>, HalfCheetah::Mjcf},
    {"walker2d", Make<Walker2d>, Walker2d::Mjcf},
};

constexpr std::string_view kPosition = "position", kVelocity = "velocity", kDelayed = "delayed",
                           kDropped = "dropped";

// The task of what a ScriptedTask shows.
std::unique_ptr<Env> Shown(const ScriptedTask& full) {
  return std::make_unique<PartialObservation>(full.spec().name, full, 0, full.shown());
}

template <typename Game>
std::unique_ptr<Env> MakeGame(Level level) {
  return Shown(Game(level));
}

struct Game {
  const char* name;
  std::unique_ptr<Env> (*make)(Level level);
};

// POPGym's.
constexpr Game kGames[] = {
    {RepeatFirst::kName, MakeGame<RepeatFirst>},
    {RepeatPrevious::kName, MakeGame<RepeatPrevious>},
    {Autoencode::kName, MakeGame<Autoencode>},
    {CountRecall::kName, MakeGame<CountRecall>},
    {HigherLower::kName, MakeGame<HigherLower>},
    {PositionOnlyCartPole::kName, MakeGame<PositionOnlyCartPole>},
    {PositionOnlyPendulum::kName, MakeGame<PositionOnlyPendulum>},
};

template <bool kVaried, bool kNoise>
std::unique_ptr<Env> MakeRateTMaze(std::string name, int steps) {
  return Shown(RateTMaze(std::move(name), steps, kVaried, kNoise));
}

// Tasks whose names are `task`, a dash and a number.
struct Maze {
  const char* task;
  int min, max;
  const char* number;  // what it counts
  std::unique_ptr<Env> (*make)(std::string name, int number);
};

constexpr int kMinSteps = RateTMaze::kMinSteps, kMaxSteps = RateTMaze::kMaxSteps;
constexpr Maze kMazes[] = {
    {"tmaze", 10, 1000, "a corridor of",
     [](std::string, int n) -> std::unique_ptr<Env> { return std::make_unique<TMaze>(n); }},
    {"rate-tmaze", kMinSteps, kMaxSteps, "an episode of", MakeRateTMaze<false, false>},
    {"rate-tmaze-max", kMinSteps, kMaxSteps, "a longest episode of", MakeRateTMaze<true, false>},
    {"rate-tmaze-noise", kMinSteps, kMaxSteps, "an episode of", MakeRateTMaze<false, true>},
    {"rate-tmaze-max-noise", kMinSteps, kMaxSteps, "a longest episode of",
     MakeRateTMaze<true, true>},
    {"memory-rl-tmaze", MemoryRlTMaze::kMinCorridor, MemoryRlTMaze::kMaxCorridor, "a corridor of",
     [](std::string name, int n) { return Shown(MemoryRlTMaze(std::move(name), n)); }},
};

[[noreturn]] void ThrowUnknown(const std::string& expected, std::string_view found) {
  throw std::invalid_argument("env: expected " + expected + ", found '" + std::string(found) + "'");
}

// What follows the dash in "dropped-50", or nothing if the string is not of that form.
std::optional<std::string_view> Suffix(std::string_view prefix, std::string_view text) {
  if (!text.starts_with(prefix) || !text.substr(prefix.size()).starts_with('-')) return {};
  return text.substr(prefix.size() + 1);
}

// The number in "dropped-50", or nothing if the string is not of that form. A number has one
// spelling, so that an environment has one name.
std::optional<int> NumberAfter(std::string_view prefix, std::string_view text) {
  const std::optional<std::string_view> digits = Suffix(prefix, text);
  if (!digits) return {};
  int number = 0;
  const char* const end = digits->data() + digits->size();
  const auto [rest, error] = std::from_chars(digits->data(), end, number);
  const bool whole = error == std::errc() && rest == end;
  if (!whole || std::to_string(number) != *digits) return {};
  return number;
}

std::unique_ptr<MujocoEnv> MakeBody(std::string_view name, Physics physics) {
  for (const Entry& entry : kBodies) {
    if (name == entry.name) return entry.make(physics);
  }
  return nullptr;
}

// The row of that name, or null.
template <typename Row, size_t kSize>
const Row* FindRow(const Row (&rows)[kSize], std::string_view name, const char* Row::* key) {
  for (const Row& row : rows) {
    if (name == row.*key) return &row;
  }
  return nullptr;
}

// What begins with "popgym-".
EnvName ParseGame(std::string_view name) {
  std::string games;
  for (const Game& game : kGames) {
    games += (games.empty() ? "" : ", ") + std::string(game.name);
    const std::optional<std::string_view> found = Suffix(game.name, name);
    for (int level = 0; level < static_cast<int>(std::size(kLevelNames)); ++level) {
      if (found == kLevelNames[level]) return {"", game.name, level};
    }
    if (found || name == game.name) {
      ThrowUnknown("a level easy, medium or hard in " + std::string(game.name) + "-LEVEL", name);
    }
  }
  ThrowUnknown("one of " + games + ", with -easy, -medium or -hard", name);
}

// A maze's name, or nothing.
std::optional<EnvName> ParseMaze(std::string_view name) {
  for (const Maze& maze : kMazes) {
    const std::optional<int> number = NumberAfter(maze.task, name);
    if (!number) continue;
    if (*number >= maze.min && *number <= maze.max) return EnvName{"", maze.task, *number};
    ThrowUnknown(maze.number + (" " + std::to_string(maze.min)) + " to " +
                     std::to_string(maze.max) + " steps in " + maze.task + "-N",
                 name);
  }
  return {};
}

}  // namespace

std::vector<std::string> BodyNames() {
  std::vector<std::string> names;
  for (const Entry& entry : kBodies) names.push_back(entry.name);
  return names;
}

std::vector<std::string> GameNames() {
  std::vector<std::string> names;
  for (const Game& game : kGames) {
    for (const std::string_view level : kLevelNames) {
      names.push_back(std::string(game.name) + "-" + std::string(level));
    }
  }
  return names;
}

std::string BodyMjcf(std::string_view body, Physics physics) {
  std::string known;
  for (const Entry& entry : kBodies) {
    if (body == entry.name) return WriteInertias(entry.mjcf(physics), physics);
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  ThrowUnknown("one of " + known, body);
}

EnvName ParseEnvName(std::string_view name) {
  if (name.starts_with("popgym-")) return ParseGame(name);
  if (const std::optional<EnvName> maze = ParseMaze(name)) return *maze;
  std::string bodies;
  for (const Entry& entry : kBodies) {
    const std::string_view body = entry.name;
    if (name == body) return {std::string(body), ""};
    bodies += (bodies.empty() ? "" : ", ") + std::string(body);
    const std::optional<std::string_view> task = Suffix(body, name);
    if (!task) continue;
    if (*task == kPosition || *task == kVelocity || *task == kDelayed) {
      return {std::string(body), std::string(*task)};
    }
    if (const auto percent = NumberAfter(kDropped, *task)) {
      if (*percent < 1 || *percent > 99) {
        ThrowUnknown("a percentage of 1 to 99 in " + std::string(body) + "-dropped-P", name);
      }
      return {std::string(body), std::string(kDropped), *percent};
    }
  }
  ThrowUnknown("one of " + bodies +
                   ", with or without -position, -velocity, -delayed or -dropped-P (P from 1 to "
                   "99), tmaze-N (N from 10 to 1000), rate-tmaze-N (3 to 9600), memory-rl-tmaze-N "
                   "(1 to 1500), or a game such as popgym-repeat-first-easy",
               name);
}

std::unique_ptr<Env> MakeEnv(std::string_view name, Physics physics) {
  const EnvName parts = ParseEnvName(name);
  const std::string own_name(name);
  if (parts.body.empty()) {
    if (physics != Physics::kD4rl) {
      throw std::invalid_argument("physics: expected none for " + own_name +
                                  ", which has no body, found " + PhysicsName(physics));
    }
    if (const Maze* maze = FindRow(kMazes, parts.task, &Maze::task)) {
      return maze->make(own_name, parts.number);
    }
    return FindRow(kGames, parts.task, &Game::name)->make(static_cast<Level>(parts.number));
  }
  std::unique_ptr<MujocoEnv> body = MakeBody(parts.body, physics);
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
