#include "experiments/program/default_threads.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <set>
#include <sstream>

namespace cosdt::experiments {
namespace {

namespace fs = std::filesystem;

constexpr double kUnbounded = std::numeric_limits<double>::infinity();

std::vector<int> Affinity() {
  // the kernel returns EINVAL if the set has no room for its processors
  for (int room = 1024; room <= 1 << 20; room *= 2) {
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(static_cast<size_t>(room)),
                                                               [](cpu_set_t* p) { CPU_FREE(p); });
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(room));
    if (!set || sched_getaffinity(0, bytes, set.get()) != 0) continue;
    std::vector<int> processors;
    for (int cpu = 0; cpu < room; ++cpu) {
      if (CPU_ISSET_S(static_cast<size_t>(cpu), bytes, set.get())) processors.push_back(cpu);
    }
    return processors;
  }
  return {};
}

std::string Variable(const char* name) {
  const char* const value = std::getenv(name);
  return value ? value : "";
}

// The first number of a list.
double Bound(const std::string& list) {
  std::istringstream text(list);
  int number = 0;
  if (!(text >> number) || number < 1) return kUnbounded;
  char next = ',';
  text >> next;
  return next == ',' ? number : kUnbounded;
}

// Processors that share a core have one list of its processors.
double PhysicalCores(const std::vector<int>& processors, const fs::path& root) {
  std::set<std::string> cores;
  for (const int cpu : processors) {
    const std::string name = "cpu" + std::to_string(cpu);
    std::ifstream file(root / "sys/devices/system/cpu" / name / "topology/thread_siblings_list");
    std::string siblings;
    cores.insert(std::getline(file, siblings) ? siblings : name);
  }
  return cores.empty() ? kUnbounded : static_cast<double>(cores.size());
}

// One cgroup's quota in processors. Version 2 has "max 100000" or "150000 100000", version 1 two
// files and -1 for no quota.
double Quota(const fs::path& folder) {
  double quota = -1, period = 0;
  if (std::ifstream both(folder / "cpu.max"); both) {
    both >> quota >> period;
  } else {
    std::ifstream(folder / "cpu.cfs_quota_us") >> quota;
    std::ifstream(folder / "cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : kUnbounded;
}

bool HasWord(const std::string& list, const std::string& word) {
  return ("," + list + ",").find("," + word + ",") != std::string::npos;
}

// Where the process stands in the hierarchy that bounds processor time, of version 1 or 2.
std::string CgroupPath(const fs::path& root, bool version_2) {
  std::ifstream file(root / "proc/self/cgroup");  // ID:CONTROLLERS:PATH
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (version_2 ? controllers.empty() : HasWord(controllers, "cpu")) {
      return line.substr(second + 1);
    }
  }
  return "/";
}

// The smallest quota of the process's cgroup and of those above it, as far as they are mounted.
double QuotaOnTheWay(const fs::path& root, const std::string& mount_root,
                     const std::string& mount_point, bool version_2) {
  const fs::path mounted = root / fs::path(mount_point).relative_path();
  const fs::path inside = fs::path(CgroupPath(root, version_2)).lexically_relative(mount_root);
  double quota = Quota(mounted);
  fs::path folder = mounted;
  // a container may see the folder of its own cgroup alone
  if (inside.empty() || *inside.begin() == "..") return quota;
  for (const fs::path& part : inside) {
    folder /= part;
    quota = std::min(quota, Quota(folder));
  }
  return quota;
}

double CgroupQuota(const fs::path& root) {
  double quota = kUnbounded;
  std::ifstream file(root / "proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    // ID PARENT DEVICE ROOT POINT OPTIONS [TAGS..] - TYPE SOURCE SUPER-OPTIONS
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream mount(line.substr(0, dash)), kind(line.substr(dash + 3));
    std::string skipped, mount_root, mount_point, type, source, options;
    mount >> skipped >> skipped >> skipped >> mount_root >> mount_point;
    kind >> type >> source >> options;
    const bool version_2 = type == "cgroup2";
    if (!version_2 && !(type == "cgroup" && HasWord(options, "cpu"))) continue;
    quota = std::min(quota, QuotaOnTheWay(root, mount_root, mount_point, version_2));
  }
  return quota;
}

}  // namespace

ThreadBounds BoundsOfThisProcess() {
  return {.processors = Affinity(),
          .root = "/",
          .omp_num_threads = Variable("OMP_NUM_THREADS"),
          .slurm_cpus_per_task = Variable("SLURM_CPUS_PER_TASK")};
}

int DefaultThreads(const ThreadBounds& bounds) {
  const double threads =
      std::min({PhysicalCores(bounds.processors, bounds.root), std::ceil(CgroupQuota(bounds.root)),
                Bound(bounds.omp_num_threads), Bound(bounds.slurm_cpus_per_task)});
  if (threads == kUnbounded) return 1;
  return std::max(1, static_cast<int>(threads));
}

}  // namespace cosdt::experiments
