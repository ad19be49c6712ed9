#pragma once

#include <string>
#include <vector>

namespace cosdt::experiments {

// Bounds on the threads that are useful in a process.
struct ThreadBounds {
  std::vector<int> processors;  // on which it may run: its affinity
  std::string root = "/";       // holds proc/ and sys/, with its cgroup's quota and the cores
  std::string omp_num_threads;  // environment variables, "" if not set
  std::string slurm_cpus_per_task;
};

// The bounds of this process.
ThreadBounds BoundsOfThisProcess();

// The default of --threads: one per physical core, as in PyTorch, and no more than the processor
// time that the process's cgroup or one above it gives (cpu.max of version 2, cpu.cfs_quota_us of
// version 1, rounded up), than the first number of OMP_NUM_THREADS and than SLURM_CPUS_PER_TASK; at
// least 1. A variable without a number from 1 bounds nothing, nor does a file that does not exist.
int DefaultThreads(const ThreadBounds& bounds = BoundsOfThisProcess());

// For the help of --threads.
inline constexpr char kDefaultThreadsHelp[] =
    "default: the physical cores that the process may use (affinity, cgroup's quota), or fewer by "
    "OMP_NUM_THREADS or SLURM_CPUS_PER_TASK";

}  // namespace cosdt::experiments
