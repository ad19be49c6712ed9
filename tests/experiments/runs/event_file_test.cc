#include "experiments/runs/event_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <protozero/pbf_reader.hpp>

namespace cosdt::experiments {
namespace {

namespace fs = std::filesystem;

uint32_t Masked(std::string_view bytes) {
  const uint32_t crc = Crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

TEST(Crc32cTest, GivesThePublishedValues) {
  // RFC 3720, appendix B.4
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
}

TEST(EventFileTest, RecordsAreTensorBoards) {
  const std::string folder = testing::TempDir() + "event_file_" + std::to_string(getpid());
  fs::remove_all(folder);
  fs::create_directory(folder);
  EventFile(folder, 1).Write(100, {{"loss", 0.5}});
  const fs::path path = fs::directory_iterator(folder)->path();
  EXPECT_EQ(path.filename().string().rfind("events.out.tfevents.", 0), 0u);
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::string> records;
  for (size_t at = 0; at < bytes.size();) {
    uint64_t length = 0;
    uint32_t crc = 0;
    std::memcpy(&length, bytes.data() + at, 8);
    std::memcpy(&crc, bytes.data() + at + 8, 4);
    EXPECT_EQ(crc, Masked(std::string_view(bytes).substr(at, 8)));
    records.push_back(bytes.substr(at + 12, length));
    std::memcpy(&crc, bytes.data() + at + 12 + length, 4);
    EXPECT_EQ(crc, Masked(records.back()));
    at += 16 + length;
  }
  ASSERT_EQ(records.size(), 3u);  // version, start, loss
  protozero::pbf_reader event(records[2]);
  int64_t step = 0;
  std::string tag;
  float value = 0;
  while (event.next()) {
    if (event.tag() == 2) {
      step = event.get_int64();
    } else if (event.tag() == 5) {
      protozero::pbf_reader summary = event.get_message();
      ASSERT_TRUE(summary.next(1));
      protozero::pbf_reader scalar = summary.get_message();
      while (scalar.next()) {
        if (scalar.tag() == 1) {
          tag = scalar.get_string();
        } else if (scalar.tag() == 2) {
          value = scalar.get_float();
        } else {
          scalar.skip();
        }
      }
    } else {
      event.skip();
    }
  }
  EXPECT_EQ(step, 100);
  EXPECT_EQ(tag, "loss");
  EXPECT_EQ(value, 0.5f);
  fs::remove_all(folder);
  EXPECT_THROW(EventFile("/nowhere/at/all", 1), std::runtime_error);
}

}  // namespace
}  // namespace cosdt::experiments
