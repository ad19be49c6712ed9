#pragma once

#include <gtest/gtest.h>
#include <hdf5.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

namespace cosdt::datasets {

struct Storage {
  std::vector<hsize_t> chunk{};  // empty: contiguous
  int gzip = -1;                 // level
  bool shuffle = false;
  hid_t type = H5T_IEEE_F32LE;
};

// An HDF5 file for one test, written with the plain HDF5 library, with whatever is wrong with it.
class TestFile {
 public:
  explicit TestFile(const std::string& name = "file.hdf5") {
    folder_ = ::testing::TempDir() + "/cosdt_test_" + std::to_string(getpid()) + "_" +
              std::to_string(counter_++);
    std::filesystem::create_directories(folder_);
    path_ = folder_ + "/" + name;
    file_ = H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    EXPECT_GE(file_, 0);
  }
  ~TestFile() {
    Close();
    std::filesystem::remove_all(folder_);
  }
  TestFile(const TestFile&) = delete;
  TestFile& operator=(const TestFile&) = delete;

  // Values count 0, 1, 2, .. if none are given.
  TestFile& Array(const std::string& key, const std::vector<hsize_t>& shape,
                  std::vector<double> values = {}, const Storage& storage = {}) {
    hsize_t count = 1;
    for (const hsize_t n : shape) count *= n;
    if (values.empty()) {
      for (hsize_t i = 0; i < count; ++i) values.push_back(static_cast<double>(i));
    }
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    if (!storage.chunk.empty()) {
      H5Pset_chunk(properties, static_cast<int>(shape.size()), storage.chunk.data());
    }
    if (storage.shuffle) H5Pset_shuffle(properties);
    if (storage.gzip >= 0) H5Pset_deflate(properties, storage.gzip);
    const hid_t space = H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
    const hid_t links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    const hid_t dataset =
        H5Dcreate2(file_, key.c_str(), storage.type, space, links, properties, H5P_DEFAULT);
    EXPECT_GE(dataset, 0) << key;
    if (count > 0 && values.size() == count) {
      EXPECT_GE(H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()),
                0);
    }
    H5Dclose(dataset);
    H5Pclose(links);
    H5Sclose(space);
    H5Pclose(properties);
    return *this;
  }

  // Flags that are true at the rows given.
  TestFile& Flags(const std::string& key, hsize_t rows, const std::vector<size_t>& at) {
    std::vector<double> values(rows, 0.0);
    for (const size_t row : at) values[row] = 1;
    Storage storage;
    storage.type = H5T_STD_I8LE;
    return Array(key, {rows}, values, storage);
  }

  // A hopper-sized file with observations, actions within [-1, 1], rewards and terminals.
  TestFile& Hopper(hsize_t rows, const std::vector<size_t>& terminals) {
    Array("observations", {rows, 11});
    Array("actions", {rows, 3}, std::vector<double>(rows * 3, 0.5));
    Array("rewards", {rows}, std::vector<double>(rows, 1.0));
    return Flags("terminals", rows, terminals);
  }

  // Closes the file for others to read.
  const std::string& Close() {
    if (file_ >= 0) H5Fclose(file_);
    file_ = -1;
    return path_;
  }
  const std::string& folder() const { return folder_; }
  hid_t id() const { return file_; }

 private:
  static inline int counter_ = 0;
  std::string folder_, path_;
  hid_t file_ = -1;
};

// The error for a file of a newer format than the linked library's.
inline std::string NewerFormat() {
  return "a format newer than that of HDF5 " + std::to_string(H5_VERS_MAJOR) + "." +
         std::to_string(H5_VERS_MINOR) + "." + std::to_string(H5_VERS_RELEASE) +
         ", which is linked (h5py writes an older one with libver=\"earliest\"), or damage";
}

// Says(text): a matcher for errors whose message contains it.
#define COSDT_EXPECT_FILE_ERROR(statement, text)                                    \
  EXPECT_THAT([&] { statement; }, ::testing::Throws<FileError>(::testing::Property( \
                                      &FileError::what, ::testing::HasSubstr(text))))

}  // namespace cosdt::datasets
