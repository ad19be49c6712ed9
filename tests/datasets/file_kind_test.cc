#include "datasets/file_kind.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <vector>

namespace cosdt::datasets {
namespace {

using namespace std::string_literals;

std::string Kind(const std::string& text) {
  return KindOfBytes({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

TEST(KindOfBytesTest, TellsWhatIsTakenForADataset) {
  EXPECT_EQ(Kind(""), "an empty file");
  EXPECT_EQ(Kind("<!DOCTYPE html><html><body>403 Forbidden</body></html>\n"), "a web page");
  EXPECT_EQ(Kind("\n\n  <HTML lang=\"en\">"), "a web page");
  EXPECT_EQ(Kind("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"), "XML");
  EXPECT_EQ(Kind("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"),
            "a Git LFS pointer ('git lfs pull' fetches the file)");
  EXPECT_EQ(Kind("\x80\x04\x95\x10\0\0\0\0\0\0\0}\x94."s), "a pickle");
  EXPECT_EQ(Kind("\x80\x02}q\0."s), "a pickle");
  EXPECT_EQ(Kind("PK\x03\x04\x14\0"s), "a zip archive (such as .npz and PyTorch's .pt)");
  EXPECT_EQ(Kind("\x1F\x8B\x08\0"s), "a gzip file ('gunzip' unpacks it)");
  EXPECT_EQ(Kind("BZh91AY"), "a bzip2 file ('bunzip2' unpacks it)");
  EXPECT_EQ(Kind("\xFD"
                 "7zXZ\0\0"s),
            "an xz file ('unxz' unpacks it)");
  EXPECT_EQ(Kind("\x28\xB5\x2F\xFD\x04"), "a zstd file ('unzstd' unpacks it)");
  EXPECT_EQ(Kind(std::string(257, 'a') + "ustar\0"s), "a tar archive");
  EXPECT_EQ(Kind("\x93NUMPY\x01\0"s), "a NumPy array (.npy)");
  EXPECT_EQ(Kind("\x40\0\0\0\0\0\0\0{\"w\":"s), "a safetensors file");
  EXPECT_EQ(Kind(std::string(64, '\0')), "zeros");
  EXPECT_EQ(Kind("observations, actions\n"), "text");
  EXPECT_EQ(Kind("\x01\x02\x03"), "other data");
}

class WhyNoFileTest : public ::testing::Test {
 protected:
  WhyNoFileTest() : path_(::testing::TempDir() + "/cosdt_kind_" + std::to_string(getpid())) {}
  ~WhyNoFileTest() override { std::filesystem::remove(path_); }
  std::string path_;
};

TEST_F(WhyNoFileTest, NamesWhatIsThereInstead) {
  EXPECT_EQ(WhyNoFile(path_), "none");
  EXPECT_EQ(WhyNoFile("/dev/null/below"), "none");
  EXPECT_EQ(WhyNoFile("/dev/zero"), "a device");
  EXPECT_EQ(WhyNoFile(::testing::TempDir()), "a folder");
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_EQ(WhyNoFile(path_), "a FIFO");
  std::filesystem::remove(path_);
  std::ofstream(path_) << "x";
  EXPECT_EQ(WhyNoFile(path_), "");
}

TEST_F(WhyNoFileTest, NamesMissingPermission) {
  std::ofstream(path_) << "x";
  ASSERT_EQ(chmod(path_.c_str(), 0), 0);
  // root reads everything
  EXPECT_EXIT(
      {
        if (getuid() == 0 && setuid(65534) != 0) std::exit(1);
        std::fputs(WhyNoFile(path_).c_str(), stderr);
        std::exit(0);
      },
      ::testing::ExitedWithCode(0), "^no permission to read it$");
}

}  // namespace
}  // namespace cosdt::datasets
