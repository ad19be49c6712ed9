#include "datasets/policy_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>

#include "datasets/hdf5_file.h"
#include "tests/shared_files.h"

namespace cosdt::datasets {
namespace {

using ::testing::HasSubstr;
using ::testing::Property;
using ::testing::Throws;

// Writes a policy file with the plain HDF5 library, with whatever is wrong with it.
class PolicyFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = ::testing::TempDir() + "/policy_" + std::to_string(getpid()) + ".hdf5";
    file_ = H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    ASSERT_GE(file_, 0);
  }
  void TearDown() override {
    CloseFile();
    std::filesystem::remove(path_);
  }
  void CloseFile() {
    if (file_ >= 0) H5Fclose(file_);
    file_ = -1;
  }

  void WriteArray(const std::string& key, std::vector<hsize_t> shape,
                  const std::vector<double>& values) {
    Write(key, H5T_IEEE_F32LE,
          H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr),
          H5T_NATIVE_DOUBLE, values.data());
  }

  void WriteString(const std::string& key, const std::string& value) {
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, value.size());
    Write(key, type, H5Screate(H5S_SCALAR), type, value.data());
    H5Tclose(type);
  }

  // A layer whose weights count upwards from `first`.
  void WriteLayer(const std::string& name, hsize_t outputs, hsize_t inputs, double first = 0) {
    std::vector<double> weight(outputs * inputs), bias(outputs);
    for (size_t i = 0; i < weight.size(); ++i) weight[i] = first + static_cast<double>(i);
    for (size_t i = 0; i < bias.size(); ++i) bias[i] = -static_cast<double>(i);
    WriteArray("metadata/policy/" + name + "/weight", {outputs, inputs}, weight);
    WriteArray("metadata/policy/" + name + "/bias", {outputs}, bias);
  }

  void WriteStrings() {
    WriteString("metadata/policy/nonlinearity", "relu");
    WriteString("metadata/policy/output_distribution", "tanh_gaussian");
  }

  // 3 observations, 2 actions.
  void WriteWholePolicy() {
    WriteStrings();
    WriteLayer("fc0", 4, 3);
    WriteLayer("fc1", 5, 4, 100);
    WriteLayer("last_fc", 2, 5, 200);
    WriteLayer("last_fc_log_std", 2, 5, 300);
    CloseFile();
  }

  std::string path_;

 private:
  void Write(const std::string& key, hid_t type, hid_t space, hid_t memory_type, const void* data) {
    const hid_t links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    const hid_t dataset =
        H5Dcreate2(file_, key.c_str(), type, space, links, H5P_DEFAULT, H5P_DEFAULT);
    ASSERT_GE(dataset, 0) << key;
    ASSERT_GE(H5Dwrite(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), 0);
    H5Dclose(dataset);
    H5Sclose(space);
    H5Pclose(links);
  }

  hid_t file_ = -1;
};

testing::Matcher<FileError> Says(const std::string& text) {
  return Property(&FileError::what, HasSubstr(text));
}

TEST_F(PolicyFileTest, ReadsLayersAsWritten) {
  WriteWholePolicy();
  const PolicyWeights policy = ReadPolicy(Hdf5File(path_));
  EXPECT_EQ(policy.observation_size(), 3);
  EXPECT_EQ(policy.action_size(), 2);
  EXPECT_EQ(policy.fc0.outputs, 4);
  EXPECT_EQ(policy.fc1.weight.size(), 20u);
  EXPECT_EQ(policy.fc1.weight[7], 107);
  EXPECT_EQ(policy.last_fc_log_std.bias[1], -1);
}

TEST_F(PolicyFileTest, ReadsTheSameFromMemory) {
  WriteWholePolicy();
  std::ifstream in(path_, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(in), {});
  const std::span bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size());
  const PolicyWeights policy = ReadPolicy(Hdf5File("memory", bytes));
  EXPECT_EQ(policy.fc1.weight, ReadPolicy(Hdf5File(path_)).fc1.weight);
  EXPECT_EQ(policy.last_fc_log_std.bias[1], -1);
  EXPECT_THAT(
      [&] { Hdf5File("memory", bytes.first(bytes.size() / 2)); },
      Throws<FileError>(Says("memory: expected a readable HDF5 file, found half a file: ")));
}

TEST_F(PolicyFileTest, NamesLayersThatDoNotFit) {
  WriteStrings();
  WriteLayer("fc0", 4, 3);
  WriteLayer("fc1", 5, 6);
  WriteLayer("last_fc", 2, 5);
  WriteLayer("last_fc_log_std", 2, 5);
  CloseFile();
  EXPECT_THAT([&] { ReadPolicy(Hdf5File(path_)); },
              Throws<FileError>(Says("metadata/policy/fc1/weight: expected 4 columns, found 6")));
}

TEST_F(PolicyFileTest, NamesHeadsOfDifferentWidths) {
  WriteStrings();
  WriteLayer("fc0", 4, 3);
  WriteLayer("fc1", 5, 4);
  WriteLayer("last_fc", 2, 5);
  WriteLayer("last_fc_log_std", 3, 5);
  CloseFile();
  EXPECT_THAT([&] { ReadPolicy(Hdf5File(path_)); },
              Throws<FileError>(Says("last_fc_log_std/weight: expected 2 rows, found 3")));
}

TEST_F(PolicyFileTest, NamesAMissingKey) {
  WriteStrings();
  WriteLayer("fc0", 4, 3);
  CloseFile();
  EXPECT_THAT(
      [&] { ReadPolicy(Hdf5File(path_)); },
      Throws<FileError>(Says("metadata/policy/fc1/weight: expected a dataset, found none")));
}

TEST_F(PolicyFileTest, RefusesOtherDistributions) {
  WriteString("metadata/policy/nonlinearity", "relu");
  WriteString("metadata/policy/output_distribution", "gaussian");
  CloseFile();
  EXPECT_THAT([&] { ReadPolicy(Hdf5File(path_)); },
              Throws<FileError>(Says("expected tanh_gaussian, found gaussian")));
}

TEST_F(PolicyFileTest, RefusesWeightsThatAreNotFinite) {
  WriteStrings();
  WriteLayer("fc0", 4, 3, NAN);
  CloseFile();
  EXPECT_THAT([&] { ReadPolicy(Hdf5File(path_)); },
              Throws<FileError>(Says("metadata/policy/fc0: expected finite weights")));
}

TEST_F(PolicyFileTest, RefusesAVectorInPlaceOfAMatrix) {
  WriteStrings();
  WriteArray("metadata/policy/fc0/weight", {3}, {1, 2, 3});
  CloseFile();
  EXPECT_THAT([&] { ReadPolicy(Hdf5File(path_)); }, Throws<FileError>(Says("found (3)")));
}

TEST_F(PolicyFileTest, RefusesATextFileOfThatName) {
  CloseFile();
  std::ofstream(path_) << "not HDF5";
  EXPECT_THAT([&] { ReadPolicy(Hdf5File(path_)); },
              Throws<FileError>(Says("expected a readable HDF5 file, found text")));
}

TEST_F(PolicyFileTest, RefusesAMissingFile) {
  EXPECT_THAT([&] { ReadPolicy(Hdf5File(path_ + ".missing")); },
              Throws<FileError>(Says(".missing: expected a readable HDF5 file, found none")));
}

TEST(ReferencePolicyFileTest, ReadsGzipChunkedPoliciesOfDatasets) {
  COSDT_NEEDS_SHARED("d4rl_samples/hopper_medium-sample.hdf5");
  // the sample was rolled out from this very policy, stored contiguously there, chunked here
  const PolicyWeights policy =
      ReadPolicy(Hdf5File(SharedFile("reference_policies/hopper-medium.hdf5")));
  const PolicyWeights sample =
      ReadPolicy(Hdf5File(SharedFile("d4rl_samples/hopper_medium-sample.hdf5")));
  EXPECT_EQ(policy.observation_size(), 11);
  EXPECT_EQ(policy.action_size(), 3);
  EXPECT_EQ(policy.fc1.weight, sample.fc1.weight);
  EXPECT_EQ(policy.last_fc_log_std.bias, sample.last_fc_log_std.bias);
}

}  // namespace
}  // namespace cosdt::datasets
