#include "datasets/array_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <numeric>

#include "tests/datasets/test_file.h"

namespace cosdt::datasets {
namespace {

std::vector<float> ReadBack(const std::string& path, uint64_t rows, uint64_t width,
                            int threads = 1) {
  std::vector<float> out(rows * width, -1.0f);
  ReadArray<float>(Hdf5File(path), "x", rows, width, out, threads);
  return out;
}

std::vector<float> Counting(size_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

TEST(ArrayReaderTest, ReadsEveryStorageAlike) {
  const hsize_t rows = 37, width = 5;
  for (const hid_t type : {H5T_IEEE_F32LE, H5T_IEEE_F64LE, H5T_IEEE_F32BE, H5T_STD_I32LE}) {
    for (const std::vector<hsize_t>& chunk :
         std::vector<std::vector<hsize_t>>{{}, {10, 2}, {1, 5}, {37, 5}, {16, 1}, {40, 8}}) {
      for (const int gzip : {-1, 0, 4, 9}) {
        for (const bool shuffle : {false, true}) {
          if (chunk.empty() && (gzip >= 0 || shuffle)) continue;
          if (!chunk.empty() && (chunk[0] > rows || chunk[1] > width)) continue;
          TestFile file;
          file.Array("x", {rows, width}, {}, {chunk, gzip, shuffle, type});
          for (const int threads : {1, 3}) {
            EXPECT_EQ(ReadBack(file.Close(), rows, width, threads), Counting(rows * width))
                << "type " << type << " chunk " << chunk.size() << " gzip " << gzip;
          }
        }
      }
    }
  }
}

TEST(ArrayReaderTest, ReadsVectorsAndOneColumnMatricesAlike) {
  TestFile flat, column;
  flat.Array("x", {50}, {}, {.chunk = {7}, .gzip = 4});
  column.Array("x", {50, 1}, {}, {.chunk = {7, 1}, .gzip = 4});
  EXPECT_EQ(ReadBack(flat.Close(), 50, 1), Counting(50));
  EXPECT_EQ(ReadBack(column.Close(), 50, 1), Counting(50));
}

TEST(ArrayReaderTest, ReadsFlagsAsZeroOrOneWhateverTheirType) {
  for (const hid_t type : {H5T_STD_I8LE, H5T_IEEE_F32LE, H5T_IEEE_F64LE, H5T_STD_U16LE}) {
    for (const std::vector<hsize_t>& chunk : std::vector<std::vector<hsize_t>>{{}, {2}}) {
      TestFile file;
      file.Array("x", {4}, {0, 1, 2, 0}, {chunk, chunk.empty() ? -1 : 4, false, type});
      std::vector<uint8_t> out(4);
      ReadArray<uint8_t>(Hdf5File(file.Close()), "x", 4, 1, out, 1);
      EXPECT_THAT(out, ::testing::ElementsAre(0, 1, 1, 0));
    }
  }
}

TEST(ArrayReaderTest, KeepsTheDigitsOfFloat64) {
  TestFile file;
  file.Array("x", {2}, {1.0 / 3.0, 1e300}, {.chunk = {2}, .gzip = 4, .type = H5T_IEEE_F64LE});
  std::vector<double> out(2);
  ReadArray<double>(Hdf5File(file.Close()), "x", 2, 1, out, 1);
  EXPECT_THAT(out, ::testing::ElementsAre(1.0 / 3.0, 1e300));
}

TEST(ArrayReaderTest, NamesAShapeThatDoesNotFit) {
  TestFile file;
  file.Array("x", {4, 3});
  COSDT_EXPECT_FILE_ERROR(ReadBack(file.Close(), 4, 2), "x: expected shape (4, 2), found (4, 3)");
}

TEST(ArrayReaderTest, NamesACorruptedChunk) {
  TestFile file;
  file.Array("x", {1000, 2}, {}, {.chunk = {100, 1}, .gzip = 4});
  const std::string path = file.Close();
  {
    // chunk data are the bulk of the file: overwrite its last bytes
    std::fstream damage(path, std::ios::in | std::ios::out | std::ios::binary);
    damage.seekp(-40, std::ios::end);
    damage << "damagedamagedamage";
  }
  COSDT_EXPECT_FILE_ERROR(ReadBack(path, 1000, 2, 2), "x: expected a chunk of 400 bytes at row");
}

TEST(ArrayReaderTest, RefusesShapesWithoutTheDataForThem) {
  TestFile file;
  const hsize_t huge = hsize_t{1} << 50;
  file.Array("x", {huge, 2}, {0}, {.chunk = {1000, 1}, .gzip = 4});
  file.Array("y", {4}, {0}, {.chunk = {4}});
  const Hdf5File opened(file.Close());
  COSDT_EXPECT_FILE_ERROR(opened.Info("x"),
                          "x: expected data for shape (1125899906842624, 2), found 0 stored bytes");
  COSDT_EXPECT_FILE_ERROR(opened.Info("y"), "found 0 stored bytes");
}

TEST(ArrayReaderTest, RefusesAMissingChunk) {
  TestFile file;
  const hsize_t shape[1] = {2000}, chunk[1] = {1000}, first[1] = {0};
  const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(properties, 1, chunk);
  H5Pset_deflate(properties, 4);
  const hid_t space = H5Screate_simple(1, shape, nullptr),
              half = H5Screate_simple(1, chunk, nullptr);
  const hid_t dataset =
      H5Dcreate2(file.id(), "x", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
  H5Sselect_hyperslab(space, H5S_SELECT_SET, first, nullptr, chunk, nullptr);
  const std::vector<float> values = Counting(1000);
  H5Dwrite(dataset, H5T_NATIVE_FLOAT, half, space, H5P_DEFAULT, values.data());
  H5Dclose(dataset);
  H5Sclose(half);
  H5Sclose(space);
  H5Pclose(properties);
  COSDT_EXPECT_FILE_ERROR(ReadBack(file.Close(), 2000, 1),
                          "x: expected a chunk of 4000 bytes at row 1000, found none");
}

TEST(ArrayReaderTest, RefusesDataInOtherFiles) {
  TestFile file;
  const hsize_t shape[1] = {4};
  const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_external(properties, "/etc/passwd", 0, 16);
  const hid_t space = H5Screate_simple(1, shape, nullptr);
  H5Dclose(H5Dcreate2(file.id(), "x", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT));
  H5Sclose(space);
  H5Pclose(properties);
  H5Lcreate_external("/other.hdf5", "x", file.id(), "y", H5P_DEFAULT, H5P_DEFAULT);
  const Hdf5File opened(file.Close());
  COSDT_EXPECT_FILE_ERROR(opened.Info("x"), "expected data within the file");
  COSDT_EXPECT_FILE_ERROR(opened.Info("y"), "expected a dataset, found none");
}

TEST(Hdf5FileTest, ListsKeysInOrder) {
  TestFile file;
  file.Array("b/d", {1}).Array("b/c", {1}).Array("a", {1});
  EXPECT_THAT(Hdf5File(file.Close()).Datasets(), ::testing::ElementsAre("a", "b/c", "b/d"));
}

}  // namespace
}  // namespace cosdt::datasets
