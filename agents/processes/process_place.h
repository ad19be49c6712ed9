// Which of a run's processes this one is, as the program that started it says: torchrun, Slurm's
// srun or Open MPI's mpirun.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace cosdt::agents {

struct ProcessPlace {
  int rank = 0, size = 1;
  int local_rank = 0;        // among those of its host: the GPU that it takes
  std::string address = {};  // of rank 0's host
  int port = 0;              // on which rank 0's store listens
  int listener = -1;         // rank 0: a socket that listens on the port already, or -1
  bool has_store = false;    // torchrun's agent keeps the store: rank 0 starts none
  std::string attempt = {};  // torchrun's count of restarts, which keeps their keys apart
};

// An environment variable's value, none if it is not set.
using Environment = std::function<std::optional<std::string>(const std::string&)>;

// The environment of this process.
std::optional<std::string> ProcessEnvironment(const std::string& name);

// The first of these that the environment has:
//   RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as torchrun sets them
//   SLURM_PROCID, SLURM_NTASKS and SLURM_STEP_NODELIST, which srun sets for every task
//   OMPI_COMM_WORLD_RANK and OMPI_COMM_WORLD_SIZE of Open MPI
// and with them LOCAL_RANK, SLURM_LOCALID or OMPI_COMM_WORLD_LOCAL_RANK; without, the rank.
// With the latter two, MASTER_ADDR and MASTER_PORT may say where rank 0 is. Otherwise it is on the
// first node of Slurm's step, or, with Open MPI, on this host, which must then have all processes;
// the port follows from the job. None if there is no launcher or a single process. Throws
// std::invalid_argument that names the variable.
std::optional<ProcessPlace> FindProcessPlace(const Environment& environment = ProcessEnvironment);

// The first host of Slurm's list of nodes: node03 of "node[03-07,09],login1".
std::string FirstHost(const std::string& nodes);

}  // namespace cosdt::agents
