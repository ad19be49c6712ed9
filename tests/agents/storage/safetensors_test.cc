#include "agents/storage/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace cosdt::agents {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class SafetensorsTest : public testing::Test {
 protected:
  ~SafetensorsTest() override { fs::remove(path_); }

  void Write(const std::string& bytes) { std::ofstream(path_, std::ios::binary) << bytes; }

  std::string Bytes() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  // Writes a header and some bytes of data, and gives what reading says.
  std::string Message(const std::string& header, size_t data) {
    const uint64_t size = header.size();
    Write(std::string(reinterpret_cast<const char*>(&size), 8) + header + std::string(data, 'x'));
    return Message();
  }

  std::string Message() const {
    try {
      ReadSafetensors(path_);
    } catch (const std::exception& e) {
      return e.what();
    }
    return "";
  }

  std::string path_ = testing::TempDir() + "safetensors_" + std::to_string(getpid());
};

TEST_F(SafetensorsTest, ReadsWhatItWrote) {
  Safetensors contents;
  contents.metadata = {{"a", "1"}, {"b", "line\n\"quoted\""}};
  for (const auto type :
       {torch::kFloat64, torch::kFloat32, torch::kFloat16, torch::kBFloat16, torch::kInt64,
        torch::kInt32, torch::kInt16, torch::kInt8, torch::kUInt8, torch::kBool}) {
    contents.tensors[torch::toString(type)] = (torch::randn({3, 5}) * 9).to(type).t();
  }
  contents.tensors["scalar"] = torch::tensor(2.5f);
  contents.tensors["none"] = torch::zeros({0, 4});
  WriteSafetensors(path_, contents);
  const Safetensors read = ReadSafetensors(path_);
  EXPECT_EQ(read.metadata, contents.metadata);
  ASSERT_EQ(read.tensors.size(), contents.tensors.size());
  for (const auto& [name, tensor] : contents.tensors) {
    EXPECT_EQ(read.tensors.at(name).scalar_type(), tensor.scalar_type());
    EXPECT_TRUE(torch::equal(read.tensors.at(name), tensor)) << name;
  }
  const std::string bytes = Bytes();
  WriteSafetensors(path_, read);
  EXPECT_EQ(Bytes(), bytes);
  // nothing temporary stays
  for (const auto& entry : fs::directory_iterator(testing::TempDir())) {
    EXPECT_THAT(entry.path().string(), testing::Not(testing::StartsWith(path_ + ".")));
  }
}

TEST_F(SafetensorsTest, EveryTruncationIsFound) {
  Safetensors contents;
  contents.tensors["weight"] = torch::ones({2, 3});
  WriteSafetensors(path_, contents);
  const std::string bytes = Bytes();
  for (size_t n = 0; n < bytes.size(); ++n) {
    Write(bytes.substr(0, n));
    EXPECT_THAT(Message(), HasSubstr(path_ + ": ")) << n;
  }
  Write(bytes + "x");
  EXPECT_THAT(Message(), HasSubstr("expected 24 bytes of data, found 25 bytes"));
}

TEST_F(SafetensorsTest, ChangedBytesNeverCrash) {
  Safetensors contents;
  contents.metadata["key"] = "value";
  contents.tensors["a"] = torch::ones({2});
  contents.tensors["b"] = torch::ones({3}, torch::kInt64);
  WriteSafetensors(path_, contents);
  const std::string bytes = Bytes();
  for (size_t i = 0; i < bytes.size() - 32; ++i) {
    for (const char c : {'\0', '9', '-', '"', ']', '\xff'}) {
      std::string changed = bytes;
      changed[i] = c;
      Write(changed);
      Message();
    }
  }
}

TEST_F(SafetensorsTest, SaysWhatIsWrong) {
  const auto entry = [](const std::string& type, const std::string& shape, const std::string& at) {
    return R"({"w":{"dtype":")" + type + R"(","shape":)" + shape + R"(,"data_offsets":)" + at +
           "}}";
  };
  EXPECT_EQ(Message(entry("F32", "[2]", "[0,8]"), 8), "");
  EXPECT_THAT(Message("nonsense", 0), HasSubstr("expected a header in JSON"));
  EXPECT_THAT(Message(entry("Q4", "[2]", "[0,8]"), 8),
              HasSubstr("w: expected a numeric type such as F32, found Q4"));
  EXPECT_THAT(Message(entry("F32", "[2]", "[0,4]"), 8),
              HasSubstr("w: expected 8 bytes for F32 [2], found data_offsets [0,4]"));
  EXPECT_THAT(Message(entry("F32", "[2]", "[8,0]"), 8), HasSubstr("w: expected 8 bytes"));
  EXPECT_THAT(Message(entry("F32", "[2]", "[0,8]"), 4),
              HasSubstr("w: expected 8 bytes of data, found 4 bytes"));
  EXPECT_THAT(Message(entry("F32", "[2]", "[4,12]"), 12),
              HasSubstr("w: expected data at byte 0, found 4"));
  EXPECT_THAT(Message(entry("F32", "[-2]", "[0,8]"), 8), HasSubstr("integers as shape"));
  EXPECT_THAT(Message(entry("F32", "[9223372036854775807,9]", "[0,8]"), 8),
              HasSubstr("fits memory"));
  EXPECT_THAT(Message(R"({"w":{"dtype":"F32"}})", 0),
              HasSubstr("w: expected the field shape, found none"));
  EXPECT_THAT(Message(R"({"__metadata__":{"a":1}})", 0),
              HasSubstr("__metadata__.a: expected a string"));
  Write(std::string(7, '\xff') + '\x7f' + "{}");
  EXPECT_THAT(Message(), HasSubstr("expected a safetensors header of at most 2 bytes"));
  fs::remove(path_);
  EXPECT_THAT(Message(), HasSubstr("expected a readable file"));

  Safetensors contents;
  contents.tensors["w"] = torch::zeros({2, 3});
  try {
    contents.Get("FILE", "w", {3, 2}, torch::kFloat32);
    FAIL();
  } catch (const std::exception& e) {
    EXPECT_STREQ(e.what(), "FILE: w: expected F32 [3, 2], found F32 [2, 3]");
  }
  EXPECT_THROW(contents.Get("FILE", "v", {2, 3}, torch::kFloat32), std::runtime_error);
  EXPECT_THROW(WriteSafetensors("/nowhere/at/all", contents), std::runtime_error);
}

}  // namespace
}  // namespace cosdt::agents
