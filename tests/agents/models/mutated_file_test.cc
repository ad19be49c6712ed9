// A thousand damaged files of each kind that training and evaluation read: each is read as it is or
// refused in a clear line, and takes no more memory than a file of its size may.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "agents/models/checkpoint.h"
#include "agents/models/hf_checkpoint.h"
#include "tests/agents/training/small_training.h"
#include "tests/mutator.h"
#include "tests/read_bytes.h"

namespace cosdt::agents {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

constexpr int kFiles = 1000;

void WriteBytes(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// Leaves the process 1 GiB more than it has; nothing under a sanitizer, which reserves terabytes.
class MemoryLimit {
 public:
  MemoryLimit() {
    getrlimit(RLIMIT_AS, &before_);
#if !defined(__SANITIZE_ADDRESS__)
    rlim_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit limit = before_;
    limit.rlim_cur = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + (rlim_t{1} << 30);
    setrlimit(RLIMIT_AS, &limit);
#endif
  }
  ~MemoryLimit() { setrlimit(RLIMIT_AS, &before_); }

 private:
  rlimit before_ = {};
};

class MutatedFileTest : public testing::Test {
 protected:
  MutatedFileTest() { fs::create_directories(folder_); }
  ~MutatedFileTest() override { fs::remove_all(folder_); }

  size_t HeaderSize(const std::string& bytes) const {
    uint64_t size = 0;
    std::memcpy(&size, bytes.data(), sizeof size);
    return sizeof size + size;
  }

  // A safetensors file with other bytes anywhere, or with another header of the right length.
  std::string MutateSafetensors(const std::string& bytes) {
    if (mutator_.Below(2) == 0) return mutator_.Bytes(bytes);
    const size_t header = HeaderSize(bytes);
    const std::string text = mutator_.Text(bytes.substr(8, header - 8));
    const uint64_t size = text.size();
    return std::string(reinterpret_cast<const char*>(&size), 8) + text + bytes.substr(header);
  }

  // Reads each of the files that `mutate` writes. Whatever is thrown begins with the name of a file
  // of the test's folder and says what is expected; neither all nor none are refused.
  void ReadAll(const std::function<void()>& mutate, const std::function<void()>& read) {
    const MemoryLimit limit;
    int refused = 0;
    for (int i = 0; i < kFiles && !HasFailure(); ++i) {
      SCOPED_TRACE("file " + std::to_string(i));
      mutate();
      try {
        read();
      } catch (const std::exception& e) {
        ++refused;
        EXPECT_THAT(e.what(), StartsWith(folder_.string()));
        EXPECT_THAT(e.what(), HasSubstr(": expected "));
        EXPECT_LT(std::strlen(e.what()), 2000u) << e.what();
      }
    }
    EXPECT_GT(refused, kFiles / 10);
    EXPECT_LT(refused, kFiles);
  }

  // Reads mutations of the safetensors file at path_ and writes what was read to again_: the same
  // bytes if the header was left as it was.
  template <typename Read, typename Write>
  void ReadAllAgain(Read read, Write write) {
    const std::string good = ReadBytes(path_), header = good.substr(0, HeaderSize(good));
    std::string bytes;
    ReadAll(
        [&] {
          bytes = MutateSafetensors(good);
          WriteBytes(path_, bytes);
        },
        [&] {
          const auto value = read();
          if (!bytes.starts_with(header)) return;
          write(value);
          EXPECT_TRUE(ReadBytes(again_) == bytes);
        });
  }

  Mutator mutator_{1};
  fs::path folder_ = fs::path(testing::TempDir()) / ("mutated_" + std::to_string(getpid()));
  std::string path_ = folder_ / "file.safetensors", again_ = folder_ / "again.safetensors";
};

TEST_F(MutatedFileTest, CheckpointsAreReadOrRefused) {
  for (const std::string kind : {"dt", "bc", "rebrac", "iql"}) {
    CheckpointInfo info;
    info.normalizer = {{1, 2, 3}, {1, 1, 1}};
    info.env = "hopper";
    info.targets = {3600, 1800};
    info.run = "seed = 5\n";
    WriteCheckpoint(path_, *MakeAgent(SmallAgent(kind)), info);
    ReadAllAgain([&] { return ReadCheckpoint(path_); },
                 [&](const Checkpoint& read) { WriteCheckpoint(again_, *read.agent, read.info); });
  }
}

TEST_F(MutatedFileTest, StatesOfTrainingAreReadOrRefused) {
  const datasets::Episodes episodes = MakeEpisodes();
  Trainer trainer(MakeAgent(SmallAgent("dt")), episodes, datasets::MakeNormalizer(episodes),
                  FastTraining());
  trainer.Update(2);
  trainer.Save(path_, {{"note", "two"}});
  ReadAllAgain([&] { return trainer.Restore(path_); },
               [&](const auto& metadata) { trainer.Save(again_, metadata); });
}

TEST_F(MutatedFileTest, FoldersOfTransformersAreReadOrRefused) {
  const fs::path golden =
      COSDT_SOURCE_DIR "/tests/agents/models/golden_decision_transformer/relu/model";
  const std::string config = ReadBytes(golden / "config.json"),
                    weights = ReadBytes(golden / "model.safetensors");
  const std::string header = weights.substr(0, HeaderSize(weights));
  std::string bytes;
  ReadAll(
      [&] {
        bytes = weights;
        WriteBytes(folder_ / "config.json", config);
        if (mutator_.Below(2) == 0) {
          WriteBytes(folder_ / "config.json", mutator_.Text(config));
        } else {
          bytes = MutateSafetensors(weights);
        }
        WriteBytes(folder_ / "model.safetensors", bytes);
      },
      [&] {
        const DecisionTransformer model = ImportHfCheckpoint(folder_.string());
        if (!bytes.starts_with(header)) return;
        // the bits of a weight that stands in both as it is
        const torch::Tensor found = model->head->weight.detach().contiguous();
        const Safetensors file = ReadSafetensors(folder_ / "model.safetensors");
        const torch::Tensor& expected = file.tensors.at("predict_action.0.weight");
        ASSERT_EQ(found.nbytes(), expected.nbytes());
        EXPECT_EQ(std::memcmp(found.data_ptr(), expected.data_ptr(), found.nbytes()), 0);
      });
}

}  // namespace
}  // namespace cosdt::agents
