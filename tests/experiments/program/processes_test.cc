#include "experiments/program/processes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace cosdt::experiments {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

// Two sockets of two cores with two threads each; processor i + 4 is the other thread of i.
TEST(SplitProcessorsTest, CoresAndSocketsStayTogether) {
  const fs::path root = fs::path(testing::TempDir()) / ("cores_" + std::to_string(getpid()));
  for (int cpu = 0; cpu < 8; ++cpu) {
    const fs::path topology =
        root / "sys/devices/system/cpu" / ("cpu" + std::to_string(cpu)) / "topology";
    fs::create_directories(topology);
    std::ofstream(topology / "physical_package_id") << cpu % 2 << "\n";
    std::ofstream(topology / "thread_siblings_list") << cpu % 4 << "," << cpu % 4 + 4 << "\n";
  }
  const std::vector<int> all = {0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_THAT(SplitProcessors(all, 2, root),
              ElementsAre(ElementsAre(0, 4, 2, 6), ElementsAre(1, 5, 3, 7)));
  EXPECT_THAT(SplitProcessors(all, 4, root), ElementsAre(ElementsAre(0, 4), ElementsAre(2, 6),
                                                         ElementsAre(1, 5), ElementsAre(3, 7)));
  EXPECT_THAT(SplitProcessors({3, 7, 1}, 2, root), ElementsAre(ElementsAre(1), ElementsAre(3, 7)));
  EXPECT_THAT(SplitProcessors({3, 7}, 3, root), IsEmpty());
  fs::remove_all(root);
}

}  // namespace
}  // namespace cosdt::experiments
