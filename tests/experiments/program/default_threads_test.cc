#include "experiments/program/default_threads.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace cosdt::experiments {
namespace {

namespace fs = std::filesystem;

// A machine of eight processors, two on each core: N and N + 4.
class DefaultThreadsTest : public testing::Test {
 protected:
  DefaultThreadsTest() {
    fs::remove_all(root_);
    for (int cpu = 0; cpu < 8; ++cpu) {
      Write("sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list",
            std::to_string(cpu % 4) + "," + std::to_string(cpu % 4 + 4));
    }
  }
  ~DefaultThreadsTest() override { fs::remove_all(root_); }

  void Write(const std::string& file, const std::string& text) const {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text << "\n";
  }

  // Version 2, as systemd mounts it.
  void WriteVersion2(const std::string& path) const {
    Write("proc/self/cgroup", "0::" + path);
    Write("proc/self/mountinfo",
          "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
          "35 25 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate");
  }

  int Threads(std::vector<int> processors = {0, 1, 2, 3, 4, 5, 6, 7}, std::string omp = "",
              std::string slurm = "") const {
    return DefaultThreads({.processors = std::move(processors),
                           .root = root_,
                           .omp_num_threads = std::move(omp),
                           .slurm_cpus_per_task = std::move(slurm)});
  }

  fs::path root_ = testing::TempDir() + "default_threads_" +
                   testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(DefaultThreadsTest, OneForEachPhysicalCoreOfTheAffinity) {
  EXPECT_EQ(Threads(), 4);
  EXPECT_EQ(Threads({1}), 1);
  EXPECT_EQ(Threads({1, 5}), 1);
  EXPECT_EQ(Threads({1, 2, 5}), 2);
  EXPECT_EQ(Threads({}), 1);
  fs::remove_all(root_ / "sys");  // some containers hide it
  EXPECT_EQ(Threads({1, 2, 5}), 3);
}

TEST_F(DefaultThreadsTest, VariablesTakeAwayAndNeverAdd) {
  EXPECT_EQ(Threads({0, 1, 2, 3}, "3"), 3);
  EXPECT_EQ(Threads({0, 1, 2, 3}, "2,4"), 2);
  EXPECT_EQ(Threads({0, 1, 2, 3}, " 2 , 4"), 2);
  EXPECT_EQ(Threads({0, 1, 2, 3}, "16"), 4);
  EXPECT_EQ(Threads({0, 1, 2, 3}, "", "3"), 3);
  EXPECT_EQ(Threads({0, 1, 2, 3}, "2", "3"), 2);
  EXPECT_EQ(Threads({0, 1, 2, 3}, "3", "2"), 2);
  EXPECT_EQ(Threads({}, "3"), 3);
  for (const char* none : {"", "0", "-1", "two", "2x", "99999999999"}) {
    EXPECT_EQ(Threads({0, 1, 2, 3}, none, none), 4) << none;
  }
}

TEST_F(DefaultThreadsTest, AQuotaOfVersion2CountsInEveryCgroupOnTheWay) {
  WriteVersion2("/user.slice/job/step");
  Write("sys/fs/cgroup/user.slice/cpu.max", "max 100000");
  Write("sys/fs/cgroup/user.slice/job/step/cpu.max", "max 100000");
  EXPECT_EQ(Threads(), 4);
  Write("sys/fs/cgroup/user.slice/job/cpu.max", "250000 100000");
  EXPECT_EQ(Threads(), 3);  // rounded up
  Write("sys/fs/cgroup/user.slice/job/step/cpu.max", "200000 100000");
  EXPECT_EQ(Threads(), 2);
  Write("sys/fs/cgroup/user.slice/cpu.max", "5000 100000");
  EXPECT_EQ(Threads(), 1);
  Write("sys/fs/cgroup/other/cpu.max", "1000 100000");
  WriteVersion2("/");  // a container with a namespace of cgroups
  EXPECT_EQ(Threads(), 4);
  Write("sys/fs/cgroup/cpu.max", "200000 100000");
  EXPECT_EQ(Threads(), 2);
}

TEST_F(DefaultThreadsTest, AQuotaOfVersion1CountsToo) {
  Write("proc/self/cgroup", "5:cpuset:/job\n4:cpu,cpuacct:/job/step\n0::/job");
  Write("proc/self/mountinfo",
        "33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw");
  const std::string job = "sys/fs/cgroup/cpu,cpuacct/job/";
  Write(job + "step/cpu.cfs_quota_us", "-1");
  Write(job + "step/cpu.cfs_period_us", "100000");
  EXPECT_EQ(Threads(), 4);
  Write(job + "cpu.cfs_quota_us", "150000");
  Write(job + "cpu.cfs_period_us", "100000");
  EXPECT_EQ(Threads(), 2);
}

TEST_F(DefaultThreadsTest, AContainerMaySeeItsOwnCgroupAlone) {
  const auto mount = [&](const std::string& path) {
    Write("proc/self/cgroup", "4:cpu:" + path);
    Write("proc/self/mountinfo",
          "32 31 0:29 /docker/a /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu");
  };
  Write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000");
  Write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000");
  Write("sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us", "200000");
  Write("sys/fs/cgroup/cpu/inner/cpu.cfs_period_us", "100000");
  mount("/docker/a");
  EXPECT_EQ(Threads(), 3);
  mount("/docker/a/inner");
  EXPECT_EQ(Threads(), 2);
  mount("/docker/b/inner");  // outside of what is mounted
  EXPECT_EQ(Threads(), 3);
}

}  // namespace
}  // namespace cosdt::experiments
