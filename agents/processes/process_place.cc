#include "agents/processes/process_place.h"

#include <charconv>
#include <cstdlib>
#include <stdexcept>

#include "datasets/random.h"

namespace cosdt::agents {
namespace {

constexpr int kMaxProcesses = 1 << 16;
constexpr int kMaxPort = 65535;

[[noreturn]] void RefuseVariable(const std::string& name, const std::string& expected,
                                 const std::optional<std::string>& found) {
  throw std::invalid_argument(name + ": expected " + expected + ", found " +
                              (found ? "'" + *found + "'" : "none"));
}

// The variable's value, a whole number from `least` to `most`.
int NumberOf(const Environment& environment, const std::string& name, int least, int most) {
  const std::optional<std::string> text = environment(name);
  int value = 0;
  if (text) {
    const char* const end = text->data() + text->size();
    const auto [rest, error] = std::from_chars(text->data(), end, value);
    if (error == std::errc() && rest == end && least <= value && value <= most) return value;
  }
  RefuseVariable(
      name, "a whole number from " + std::to_string(least) + " to " + std::to_string(most), text);
}

std::string TextOf(const Environment& environment, const std::string& name,
                   const std::string& expected) {
  const std::optional<std::string> text = environment(name);
  if (!text || text->empty()) RefuseVariable(name, expected, text);
  return *text;
}

// A port below those that systems give away, which differs between jobs.
int PortOfJob(const std::string& job) {
  uint64_t bits = 0;
  for (const char c : job) bits = datasets::SplitMix64(bits ^ static_cast<unsigned char>(c));
  return 16384 + static_cast<int>(bits % 16384);
}

ProcessPlace RankAndSize(const Environment& environment, const std::string& rank,
                         const std::string& size, const std::string& local_rank) {
  ProcessPlace place;
  place.size = NumberOf(environment, size, 1, kMaxProcesses);
  place.rank = NumberOf(environment, rank, 0, place.size - 1);
  place.local_rank =
      environment(local_rank) ? NumberOf(environment, local_rank, 0, place.size - 1) : place.rank;
  return place;
}

ProcessPlace PlaceOfTorchrun(const Environment& environment) {
  ProcessPlace place = RankAndSize(environment, "RANK", "WORLD_SIZE", "LOCAL_RANK");
  if (place.size == 1) return place;
  place.address = TextOf(environment, "MASTER_ADDR", "the host of rank 0");
  place.port = NumberOf(environment, "MASTER_PORT", 1, kMaxPort);
  place.has_store = environment("TORCHELASTIC_USE_AGENT_STORE").value_or("") == "True";
  place.attempt = environment("TORCHELASTIC_RESTART_COUNT").value_or("");
  return place;
}

// Address and port from MASTER_ADDR and MASTER_PORT, if they are set, else these.
void FindStore(const Environment& environment, ProcessPlace& place,
               const std::function<std::string()>& address, const std::string& job) {
  place.address = environment("MASTER_ADDR").value_or("");
  if (place.address.empty()) place.address = address();
  place.port = environment("MASTER_PORT") ? NumberOf(environment, "MASTER_PORT", 1, kMaxPort)
                                          : PortOfJob(job);
}

ProcessPlace PlaceOfSlurm(const Environment& environment) {
  const char* const of_step = "SLURM_STEP_NUM_TASKS";
  ProcessPlace place =
      RankAndSize(environment, "SLURM_PROCID", environment(of_step) ? of_step : "SLURM_NTASKS",
                  "SLURM_LOCALID");
  if (place.size == 1) return place;
  FindStore(
      environment, place, [&] { return FirstHost(*environment("SLURM_STEP_NODELIST")); },
      environment("SLURM_JOB_ID").value_or("") + "." + environment("SLURM_STEP_ID").value_or(""));
  return place;
}

ProcessPlace PlaceOfOpenMpi(const Environment& environment) {
  ProcessPlace place = RankAndSize(environment, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                                   "OMPI_COMM_WORLD_LOCAL_RANK");
  if (place.size == 1) return place;
  const auto this_host = [&]() -> std::string {
    const int local = NumberOf(environment, "OMPI_COMM_WORLD_LOCAL_SIZE", 1, place.size);
    if (local == place.size) return "127.0.0.1";
    RefuseVariable("MASTER_ADDR", "the host of rank 0 (mpirun -x MASTER_ADDR=HOST)", std::nullopt);
  };
  FindStore(environment, place, this_host,
            environment("PMIX_NAMESPACE").value_or("") +
                environment("OMPI_MCA_ess_base_jobid").value_or(""));
  return place;
}

}  // namespace

std::optional<std::string> ProcessEnvironment(const std::string& name) {
  const char* const value = std::getenv(name.c_str());
  return value ? std::optional<std::string>(value) : std::nullopt;
}

std::string FirstHost(const std::string& nodes) {
  const size_t end = nodes.find_first_of(",[");
  std::string host = nodes.substr(0, end);
  if (end != std::string::npos && nodes[end] == '[') {
    const size_t after = nodes.find_first_of(",-]", end + 1);
    const size_t close = nodes.find(']', end);
    if (close == std::string::npos || after == end + 1) host.clear();
    if (!host.empty()) {
      host += nodes.substr(end + 1, after - end - 1);
      host += nodes.substr(close + 1, nodes.find_first_of(",[", close) - close - 1);
    }
  }
  if (host.empty()) RefuseVariable("SLURM_STEP_NODELIST", "a list such as node[03-07,09]", nodes);
  return host;
}

std::optional<ProcessPlace> FindProcessPlace(const Environment& environment) {
  ProcessPlace place;
  if (environment("RANK") || environment("WORLD_SIZE")) {
    place = PlaceOfTorchrun(environment);
  } else if (environment("SLURM_STEP_NODELIST") && environment("SLURM_PROCID")) {
    place = PlaceOfSlurm(environment);
  } else if (environment("OMPI_COMM_WORLD_SIZE")) {
    place = PlaceOfOpenMpi(environment);
  }
  return place.size > 1 ? std::optional(place) : std::nullopt;
}

}  // namespace cosdt::agents
