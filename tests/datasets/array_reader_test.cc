#include "datasets/array_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <numeric>
#include <optional>

#include "datasets/hdf5_id.h"
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
  file.Array("y", {huge}, {0});
  const Hdf5File opened(file.Close());
  COSDT_EXPECT_FILE_ERROR(opened.Info("x"),
                          "x: expected data for shape (1125899906842624, 2), found 0 stored bytes");
  COSDT_EXPECT_FILE_ERROR(opened.Info("y"),
                          "y: expected data for shape (1125899906842624), found 0");
}

// How a dataset is created of which only the rows from `from` to `to` are written.
struct PartlyWritten {
  std::vector<hsize_t> chunk{};  // empty: contiguous
  bool deflate = false;
  std::optional<double> fill{};
  H5D_fill_time_t time = H5D_FILL_TIME_IFSET;
  hsize_t from = 0, to = 0;
  hid_t type = H5T_IEEE_F32LE;
};

constexpr hsize_t kRows = 23, kWidth = 5;

void Write(const TestFile& file, const PartlyWritten& how) {
  const hsize_t shape[2] = {kRows, kWidth};
  const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
  if (!how.chunk.empty()) H5Pset_chunk(properties, 2, how.chunk.data());
  if (how.deflate) H5Pset_deflate(properties, 4);
  if (how.fill) H5Pset_fill_value(properties, H5T_NATIVE_DOUBLE, &*how.fill);
  H5Pset_fill_time(properties, how.time);
  const hid_t space = H5Screate_simple(2, shape, nullptr);
  const hid_t dataset =
      H5Dcreate2(file.id(), "x", how.type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
  ASSERT_GE(dataset, 0);
  if (how.to > how.from) {
    const hsize_t start[2] = {how.from, 0}, count[2] = {how.to - how.from, kWidth};
    const hid_t rows = H5Screate_simple(2, count, nullptr);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, start, nullptr, count, nullptr);
    const std::vector<float> values = Counting(count[0] * kWidth);
    H5Dwrite(dataset, H5T_NATIVE_FLOAT, rows, space, H5P_DEFAULT, values.data());
    H5Sclose(rows);
  }
  H5Dclose(dataset);
  H5Sclose(space);
  H5Pclose(properties);
}

// As HDF5's own library reads it.
std::vector<float> ReadByHdf5(const std::string& path) {
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  const hid_t dataset = H5Dopen2(file, "x", H5P_DEFAULT);
  std::vector<float> values(kRows * kWidth, -1.0f);
  EXPECT_GE(H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
  H5Dclose(dataset);
  H5Fclose(file);
  return values;
}

TEST(ArrayReaderTest, StorageThatWasNeverWrittenHasTheFillValue) {
  for (const std::vector<hsize_t>& chunk :
       std::vector<std::vector<hsize_t>>{{}, {10, 2}, {4, 5}, {23, 5}}) {
    for (const std::optional<double> fill : {std::optional<double>(), std::optional(7.5)}) {
      for (const auto& [from, to] : {std::pair{0, 0}, std::pair{0, 9}, std::pair{11, 14}}) {
        for (const hid_t type : {H5T_IEEE_F32LE, H5T_IEEE_F64BE, H5T_STD_I16LE}) {
          TestFile file;
          Write(file, {.chunk = chunk,
                       .deflate = !chunk.empty() && chunk[0] == 4,
                       .fill = fill,
                       .from = static_cast<hsize_t>(from),
                       .to = static_cast<hsize_t>(to),
                       .type = type});
          const std::string path = file.Close();
          const std::vector<float> expected = ReadByHdf5(path);
          EXPECT_EQ(expected.back(), !fill ? 0 : type == H5T_STD_I16LE ? 7 : 7.5);
          for (const int threads : {1, 3}) {
            EXPECT_EQ(ReadBack(path, kRows, kWidth, threads), expected)
                << "chunk " << chunk.size() << " rows " << from << " to " << to;
          }
        }
      }
    }
  }
}

TEST(ArrayReaderTest, FlagsThatWereNeverWrittenAreTheFillValue) {
  for (const double fill : {0.0, 1.0}) {
    TestFile file;
    Write(file, {.chunk = {5, 5}, .fill = fill, .from = 0, .to = 5, .type = H5T_STD_I8LE});
    std::vector<uint8_t> out(kRows * kWidth, 2);
    ReadArray<uint8_t>(Hdf5File(file.Close()), "x", kRows, kWidth, out, 1);
    EXPECT_EQ(out[0], 0);
    EXPECT_EQ(out[24], 1);
    EXPECT_EQ(out[25], fill);
    EXPECT_EQ(out.back(), fill);
  }
}

TEST(ArrayReaderTest, RefusesStorageThatWasNeverWrittenAndHasNoFillValue) {
  for (const std::vector<hsize_t>& chunk : std::vector<std::vector<hsize_t>>{{}, {10, 2}}) {
    TestFile file;
    Write(file, {.chunk = chunk, .time = H5D_FILL_TIME_NEVER});
    COSDT_EXPECT_FILE_ERROR(
        ReadBack(file.Close(), kRows, kWidth),
        "x: expected data or a fill value, found storage that was never written");
  }
  TestFile partly;
  Write(partly, {.chunk = {10, 5}, .time = H5D_FILL_TIME_NEVER, .from = 0, .to = 10});
  COSDT_EXPECT_FILE_ERROR(ReadBack(partly.Close(), kRows, kWidth), "x: expected data or a fill");
}

TEST(ArrayReaderTest, ReadsEveryChunkIndexOfNewerFiles) {
  // by rank and limits of the shape HDF5 chooses: a single chunk, an implicit index, a fixed array,
  // an extensible array, a B-tree
  struct Case {
    std::vector<hsize_t> chunk, limits;
    H5D_alloc_time_t alloc;
    bool deflate;
  };
  constexpr hsize_t kNoLimit = H5S_UNLIMITED;
  for (const Case& c : {Case{{kRows, kWidth}, {kRows, kWidth}, H5D_ALLOC_TIME_DEFAULT, true},
                        Case{{5, 2}, {kRows, kWidth}, H5D_ALLOC_TIME_EARLY, false},
                        Case{{5, 2}, {kRows, kWidth}, H5D_ALLOC_TIME_DEFAULT, true},
                        Case{{5, 2}, {kNoLimit, kWidth}, H5D_ALLOC_TIME_DEFAULT, true},
                        Case{{5, 2}, {kNoLimit, kNoLimit}, H5D_ALLOC_TIME_DEFAULT, true}}) {
    for (const bool plain_edges : {false, true}) {
      TestFile folder;
      const std::string path = folder.folder() + "/newer.hdf5";
      const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
      H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
      const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
      const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
      H5Pset_chunk(properties, 2, c.chunk.data());
      H5Pset_alloc_time(properties, c.alloc);
      if (c.deflate) H5Pset_deflate(properties, 4);
      if (plain_edges) H5Pset_chunk_opts(properties, H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS);
      const hsize_t shape[2] = {kRows, kWidth};
      const hid_t space = H5Screate_simple(2, shape, c.limits.data());
      const hid_t dataset =
          H5Dcreate2(file, "x", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
      const std::vector<float> values = Counting(kRows * kWidth);
      ASSERT_GE(H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()),
                0);
      H5Dclose(dataset);
      H5Sclose(space);
      H5Pclose(properties);
      H5Fclose(file);
      H5Pclose(access);
      EXPECT_EQ(ReadBack(path, kRows, kWidth), values)
          << "chunks of " << c.chunk[0] << " rows, at most " << c.limits[0] << ", plain edges "
          << plain_edges;
    }
  }
}

std::string WhyRefused(const TestFile& folder, const std::vector<H5Z_filter_t>& filters) {
  const std::string path = folder.folder() + "/filters.hdf5";
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
  const hsize_t shape[1] = {8};
  H5Pset_chunk(properties, 1, shape);
  for (const H5Z_filter_t filter : filters) {
    if (filter == H5Z_FILTER_DEFLATE) {
      H5Pset_deflate(properties, 4);
    } else if (filter == H5Z_FILTER_FLETCHER32) {
      H5Pset_fletcher32(properties);
    } else if (filter == H5Z_FILTER_SHUFFLE) {
      H5Pset_shuffle(properties);
    } else if (filter == H5Z_FILTER_SCALEOFFSET) {
      H5Pset_scaleoffset(properties, H5Z_SO_FLOAT_DSCALE, 2);
    } else {
      H5Pset_filter(properties, filter, H5Z_FLAG_OPTIONAL, 0, nullptr);
    }
  }
  const hid_t space = H5Screate_simple(1, shape, nullptr);
  const hid_t dataset =
      H5Dcreate2(file, "x", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
  const std::vector<float> values = Counting(8);
  H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
  H5Dclose(dataset);
  H5Sclose(space);
  H5Pclose(properties);
  H5Fclose(file);
  try {
    ReadBack(path, 8, 1);
  } catch (const FileError& error) {
    return error.found();
  }
  return "";
}

// HDF5's sums of -1 are 0xffff, which is 0 modulo 65535.
TEST(ArrayReaderTest, ReadsChunksWhoseChecksumDividesBy65535) {
  TestFile folder;
  const std::string path = folder.folder() + "/sums.hdf5";
  {
    const Hdf5Id file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
    const Hdf5Id properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    const hsize_t chunk[1] = {1}, shape[1] = {3};
    H5Pset_chunk(properties, 1, chunk);
    H5Pset_fletcher32(properties);
    const Hdf5Id space(H5Screate_simple(1, shape, nullptr), H5Sclose);
    const Hdf5Id dataset(
        H5Dcreate2(file, "x", H5T_STD_I16LE, space, H5P_DEFAULT, properties, H5P_DEFAULT),
        H5Dclose);
    const int16_t values[3] = {-1, 0, 7};
    ASSERT_GE(H5Dwrite(dataset, H5T_NATIVE_INT16, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), 0);
  }
  EXPECT_THAT(ReadBack(path, 3, 1), ::testing::ElementsAre(-1, 0, 7));
}

TEST(ArrayReaderTest, NamesFiltersThatItDoesNotUndoAndTheRepackingThatHelps) {
  TestFile folder;
  EXPECT_EQ(WhyRefused(folder, {H5Z_FILTER_SHUFFLE, H5Z_FILTER_DEFLATE, H5Z_FILTER_FLETCHER32}),
            "");
  EXPECT_EQ(WhyRefused(folder, {H5Z_FILTER_SCALEOFFSET}),
            "scaleoffset (filter 6); 'h5repack -f SHUF -f GZIP=4 OLD NEW' repacks it");
  EXPECT_EQ(WhyRefused(folder, {H5Z_FILTER_FLETCHER32, H5Z_FILTER_DEFLATE}),
            "fletcher32 (filter 3), deflate (filter 1); 'h5repack -f SHUF -f GZIP=4 OLD NEW' "
            "repacks it");
  EXPECT_EQ(WhyRefused(folder, {H5Z_FILTER_SHUFFLE, 32001}),
            "shuffle (filter 2), an unnamed filter (filter 32001); 'h5repack -f SHUF -f GZIP=4 "
            "OLD NEW' repacks it if HDF5_PLUGIN_PATH has the filter");
}

TEST(ArrayReaderTest, NamesTheFilterThatIsH5pysOwn) {
  const std::string path = COSDT_SOURCE_DIR "/tests/datasets/vintages/hopper_lzf.hdf5";
  std::vector<float> out(20 * 11);
  COSDT_EXPECT_FILE_ERROR(
      ReadArray<float>(Hdf5File(path), "observations", 20, 11, out, 1),
      path +
          ": observations: expected filters shuffle, deflate and fletcher32 in this order, found "
          "lzf (filter 32000); 'h5repack -f SHUF -f GZIP=4 OLD NEW' repacks it if "
          "HDF5_PLUGIN_PATH has the filter, or h5py, whose own it is, with compression=\"gzip\"");
}

TEST(ArrayReaderTest, ReadsOrNamesTheFormatOfNewerLibraries) {
  const std::string path = COSDT_SOURCE_DIR "/tests/datasets/vintages/hopper_v112.hdf5";
  std::vector<uint8_t> out(20);
  const auto read = [&] { ReadArray<uint8_t>(Hdf5File(path), "timeouts", 20, 1, out, 1); };
  if (H5_VERS_MINOR >= 12 || H5_VERS_MAJOR > 1) {
    read();
    EXPECT_EQ(out[9] + out[19], 2);
    return;
  }
  COSDT_EXPECT_FILE_ERROR(
      read(), path + ": timeouts: expected data within the file, found " + NewerFormat());
}

// h5py writes a Python string with variable length, np.bytes_ (as D4RL does) with a fixed one.
TEST(Hdf5FileTest, ReadsStringsOfFixedAndVariableLength) {
  TestFile file;
  file.Array("rewards", {1});
  const std::string path = file.Close();
  {
    const Hdf5Id h5(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    const Hdf5Id scalar(H5Screate(H5S_SCALAR), H5Sclose);
    const auto write = [&](const char* key, size_t length, const void* value) {
      const Hdf5Id type(H5Tcopy(H5T_C_S1), H5Tclose);
      H5Tset_size(type, length);
      const Hdf5Id dataset(H5Dcreate2(h5, key, type, scalar, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                           H5Dclose);
      if (value) {
        EXPECT_GE(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, value), 0);
      }
    };
    const char* const text = "SAC";
    write("variable", H5T_VARIABLE, &text);
    write("fixed", 8, "SAC\0\0\0\0");
    write("nothing", H5T_VARIABLE, nullptr);
  }
  const Hdf5File read(path);
  EXPECT_EQ(read.ReadString("variable"), "SAC");
  EXPECT_EQ(read.ReadString("fixed"), "SAC");
  COSDT_EXPECT_FILE_ERROR(read.ReadString("nothing"),
                          path + ": nothing: expected a readable string, found damaged data");
  COSDT_EXPECT_FILE_ERROR(read.ReadString("rewards"),
                          path + ": rewards: expected a scalar, found (1)");
}

TEST(Hdf5FileTest, ListsKeysInOrder) {
  TestFile file;
  file.Array("b/d", {1}).Array("b/c", {1}).Array("a", {1});
  EXPECT_THAT(Hdf5File(file.Close()).Datasets(), ::testing::ElementsAre("a", "b/c", "b/d"));
}

}  // namespace
}  // namespace cosdt::datasets
