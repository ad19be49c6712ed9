#include "experiments/program/options.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <stdexcept>

#include "agents/kernels/gemm.h"
#include "envs/registry.h"
#include "experiments/program/default_threads.h"

namespace cosdt::experiments {

CLI::Option* AddEnvOption(CLI::App& command, std::string& env) {
  return command
      .add_option(
          "--env", env,
          "body (hopper, halfcheetah, walker2d) or task (hopper-position, hopper-velocity, "
          "hopper-delayed, hopper-dropped-50, tmaze-100, rate-tmaze-150, memory-rl-tmaze-50, "
          "popgym-repeat-previous-hard and the like)")
      ->check([](const std::string& name) -> std::string {
        try {
          envs::ParseEnvName(name);
        } catch (const std::invalid_argument& e) {
          return e.what();
        }
        return "";
      });
}

void AddSeedingOption(CLI::App& command, envs::Seeding& seeding) {
  std::vector<std::string> names;
  for (const envs::Seeding s : envs::kAllSeedings) names.push_back(envs::SeedingName(s));
  command
      .add_option_function<std::string>(
          "--seeding", [&seeding](const std::string& name) { seeding = envs::ParseSeeding(name); },
          "how initial states follow from the seed: streams, one per episode; gym, as one "
          "environment of gym up to 0.21 draws them after env.seed(SEED)")
      ->check(CLI::IsMember(names))
      ->default_str(envs::SeedingName(seeding));
}

void AddPhysicsOption(CLI::App& command, envs::Physics& physics) {
  std::vector<std::string> names;
  for (const envs::Physics p : envs::kAllPhysics) names.push_back(envs::PhysicsName(p));
  command
      .add_option_function<std::string>(
          "--physics", [&physics](const std::string& name) { physics = envs::ParsePhysics(name); },
          "whose simulator to reproduce")
      ->check(CLI::IsMember(names))
      ->default_str(envs::PhysicsName(physics));
}

void AddSeedOption(CLI::App& command, uint64_t& seed, const std::string& of_what) {
  const auto is_seed = [](const std::string& text) -> std::string {
    uint64_t value = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error == std::errc() && stop == end) return "";
    return "expected a whole number from 0 to 18446744073709551615, found " + text;
  };
  command.add_option("--seed", seed, of_what)->check(is_seed)->capture_default_str();
}

void AddEpisodesOption(CLI::App& command, int& episodes) {
  command.add_option("--episodes", episodes, "episodes to play")
      ->check(CLI::Range(1, kMaxEpisodes))
      ->capture_default_str();
}

void AddThreadsOption(CLI::App& command, int& threads) {
  threads = std::min(DefaultThreads(), kMaxThreads);
  command
      .add_option(
          "--threads", threads,
          std::string("number of threads; results do not depend on it; ") + kDefaultThreadsHelp)
      ->check(CLI::Range(1, kMaxThreads))
      ->capture_default_str();
}

void AddVideoOption(CLI::App& command, std::string& file) {
  command.add_option("--video", file, "record the first episode to this MP4 file")
      ->check([](const std::string& name) {
        return name.ends_with(".mp4") ? ""
                                      : "expected a name that ends in .mp4, found '" + name + "'";
      });
}

void AddDataDirOption(CLI::App& command, std::string& data_dir) {
  command.add_option("--data-dir", data_dir,
                     "folder of downloaded files (default: $COSDT_DATA, else ~/.cache/cosdt)");
}

void SayIfBFloat16IsNotUsed() {
  if (agents::kernels::BFloat16IsFaster()) return;
  std::fprintf(stderr,
               "cosdt: precision bf16: this processor is not faster in bfloat16: products are in "
               "float32\n");
}

}  // namespace cosdt::experiments
