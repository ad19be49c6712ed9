#include "agents/processes/process_place.h"

#include <gtest/gtest.h>

#include <map>
#include <stdexcept>

namespace cosdt::agents {
namespace {

using Variables = std::map<std::string, std::string>;

std::optional<ProcessPlace> Find(const Variables& variables) {
  return FindProcessPlace([&](const std::string& name) {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  });
}

std::string Error(const Variables& variables) {
  try {
    Find(variables);
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "nothing was thrown";
}

TEST(ProcessPlaceTest, NoLauncherOrASingleProcessIsNoGroup) {
  EXPECT_FALSE(Find({}));
  EXPECT_FALSE(Find({{"RANK", "0"}, {"WORLD_SIZE", "1"}}));
  // a batch script is no task of srun
  EXPECT_FALSE(Find({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}));
  EXPECT_FALSE(Find({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "1"}, {"SLURM_STEP_NODELIST", "n1"}}));
  EXPECT_FALSE(Find({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "1"}}));
}

TEST(ProcessPlaceTest, TorchrunsVariablesComeBeforeSlurms) {
  const auto place = Find({{"RANK", "1"},
                           {"WORLD_SIZE", "3"},
                           {"MASTER_ADDR", "host"},
                           {"MASTER_PORT", "29500"},
                           {"LOCAL_RANK", "0"},
                           {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                           {"TORCHELASTIC_RESTART_COUNT", "2"},
                           {"SLURM_PROCID", "0"},
                           {"SLURM_NTASKS", "8"},
                           {"SLURM_STEP_NODELIST", "n1"}});
  ASSERT_TRUE(place);
  EXPECT_EQ(place->rank, 1);
  EXPECT_EQ(place->size, 3);
  EXPECT_EQ(place->local_rank, 0);
  EXPECT_EQ(place->address, "host");
  EXPECT_EQ(place->port, 29500);
  EXPECT_TRUE(place->has_store);
  EXPECT_EQ(place->attempt, "2");
}

TEST(ProcessPlaceTest, SlurmsTasksMeetOnTheStepsFirstNodeAtAPortOfTheJob) {
  Variables variables = {{"SLURM_PROCID", "5"},
                         {"SLURM_NTASKS", "8"},
                         {"SLURM_STEP_NODELIST", "node[03-07,09],login1"},
                         {"SLURM_JOB_ID", "42"},
                         {"SLURM_STEP_ID", "0"}};
  const auto place = Find(variables);
  ASSERT_TRUE(place);
  EXPECT_EQ(place->rank, 5);
  EXPECT_EQ(place->local_rank, 5);  // not known
  EXPECT_EQ(place->size, 8);
  EXPECT_EQ(place->address, "node03");
  EXPECT_GE(place->port, 16384);
  EXPECT_LT(place->port, 32768);
  EXPECT_EQ(Find(variables)->port, place->port);
  variables["SLURM_JOB_ID"] = "43";
  EXPECT_NE(Find(variables)->port, place->port);
  variables["MASTER_ADDR"] = "other";
  variables["MASTER_PORT"] = "1234";
  EXPECT_EQ(Find(variables)->address, "other");
  EXPECT_EQ(Find(variables)->port, 1234);
  variables["SLURM_LOCALID"] = "1";
  EXPECT_EQ(Find(variables)->local_rank, 1);
}

TEST(ProcessPlaceTest, OpenMpisProcessesMeetOnTheirHostOrAtMasterAddr) {
  Variables variables = {{"OMPI_COMM_WORLD_RANK", "1"},
                         {"OMPI_COMM_WORLD_SIZE", "4"},
                         {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}};
  EXPECT_EQ(Find(variables)->address, "127.0.0.1");
  variables["OMPI_COMM_WORLD_LOCAL_SIZE"] = "2";
  EXPECT_EQ(Error(variables),
            "MASTER_ADDR: expected the host of rank 0 (mpirun -x MASTER_ADDR=HOST), found none");
  variables["MASTER_ADDR"] = "host";
  EXPECT_EQ(Find(variables)->address, "host");
  EXPECT_EQ(Find(variables)->rank, 1);
}

TEST(ProcessPlaceTest, AnIncompleteOrImpossiblePlaceIsRefused) {
  EXPECT_EQ(Error({{"WORLD_SIZE", "2"}}), "RANK: expected a whole number from 0 to 1, found none");
  EXPECT_EQ(Error({{"RANK", "0"}}),
            "WORLD_SIZE: expected a whole number from 1 to 65536, found none");
  EXPECT_EQ(Error({{"RANK", "2"}, {"WORLD_SIZE", "2"}}),
            "RANK: expected a whole number from 0 to 1, found '2'");
  EXPECT_EQ(Error({{"RANK", "1x"}, {"WORLD_SIZE", "2"}}),
            "RANK: expected a whole number from 0 to 1, found '1x'");
  EXPECT_EQ(Error({{"RANK", "0"}, {"WORLD_SIZE", "2"}}),
            "MASTER_ADDR: expected the host of rank 0, found none");
  EXPECT_EQ(Error({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "x"}}),
            "MASTER_PORT: expected a whole number from 1 to 65535, found 'x'");
}

TEST(ProcessPlaceTest, TheFirstHostOfSlurmsList) {
  EXPECT_EQ(FirstHost("n1"), "n1");
  EXPECT_EQ(FirstHost("n1,n2"), "n1");
  EXPECT_EQ(FirstHost("gpu-[007-012]"), "gpu-007");
  EXPECT_EQ(FirstHost("n[9]"), "n9");
  EXPECT_EQ(FirstHost("rack[2,4-5]-node,x"), "rack2-node");
  for (const char* bad : {"", "[1-2]", "n[1-2", "n[]"}) {
    EXPECT_THROW(FirstHost(bad), std::invalid_argument) << bad;
  }
}

}  // namespace
}  // namespace cosdt::agents
