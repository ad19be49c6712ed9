#include "datasets/hdf5_writer.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "datasets/hdf5_id.h"

namespace cosdt::datasets {
namespace {

using Lock = std::lock_guard<std::recursive_mutex>;

constexpr unsigned kGzipLevel = 4;

}  // namespace

std::vector<uint64_t> GuessChunk(const std::vector<uint64_t>& shape, size_t bytes) {
  constexpr double kBase = 16 * 1024, kMin = 8 * 1024, kMax = 1024 * 1024;
  std::vector<uint64_t> chunk = shape;
  for (uint64_t& n : chunk) n = n == 0 ? 1024 : n;
  const auto size = [&] {
    double product = static_cast<double>(bytes);
    for (const uint64_t n : chunk) product *= static_cast<double>(n);
    return product;
  };
  const double target =
      std::clamp(kBase * std::pow(2.0, std::log10(size() / (1024.0 * 1024.0))), kMin, kMax);
  for (size_t i = 0;; ++i) {
    const double now = size();
    if ((now < target || std::abs(now - target) / target < 0.5) && now < kMax) break;
    if (now == static_cast<double>(bytes)) break;
    uint64_t& n = chunk[i % chunk.size()];
    n = (n + 1) / 2;
  }
  return chunk;
}

Hdf5Writer::Hdf5Writer(std::string path) : target_(std::move(path)) {
  const Lock lock(Hdf5Mutex());
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  const Hdf5Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  // nobody else knows the name; file systems without locks would refuse it
  H5Pset_file_locking(access, false, true);
  file_ = H5Fcreate(target_.temporary().c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
  if (file_ < 0) {
    throw std::runtime_error(target_.path() + ": cannot be written: " + std::strerror(errno));
  }
}

Hdf5Writer::~Hdf5Writer() {
  const Lock lock(Hdf5Mutex());
  if (file_ >= 0) H5Fclose(file_);
}

void Hdf5Writer::Fail(const std::string& what) {
  const int error = errno;
  throw std::runtime_error(target_.path() + ": " + what + " failed" +
                           (error ? std::string(": ") + std::strerror(error) : ""));
}

void Hdf5Writer::Write(const std::string& key, int64_t stored, int64_t memory,
                       const std::vector<uint64_t>& shape, const void* data) {
  const std::vector<hsize_t> extent(shape.begin(), shape.end());
  const auto rank = static_cast<int>(extent.size());
  const Hdf5Id space(
      rank == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(rank, extent.data(), nullptr), H5Sclose);
  const Hdf5Id links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(links, 1);
  const Hdf5Id properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_obj_track_times(properties, false);
  if (rank > 0) {
    const std::vector<uint64_t> guess = GuessChunk(shape, H5Tget_size(stored));
    const std::vector<hsize_t> chunk(guess.begin(), guess.end());
    H5Pset_chunk(properties, rank, chunk.data());
    H5Pset_deflate(properties, kGzipLevel);
  }
  errno = 0;
  const Hdf5Id dataset(
      H5Dcreate2(file_, key.c_str(), stored, space, links, properties, H5P_DEFAULT), H5Dclose);
  if (dataset < 0 || H5Dwrite(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
    Fail("writing " + key);
  }
}

void Hdf5Writer::Array(const std::string& key, const std::vector<uint64_t>& shape,
                       std::span<const float> values) {
  const Lock lock(Hdf5Mutex());
  Write(key, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, shape, values.data());
}

void Hdf5Writer::Array(const std::string& key, const std::vector<uint64_t>& shape,
                       std::span<const double> values) {
  const Lock lock(Hdf5Mutex());
  Write(key, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, shape, values.data());
}

void Hdf5Writer::Integers(const std::string& key, std::span<const float> values) {
  const Lock lock(Hdf5Mutex());
  Write(key, H5T_STD_I64LE, H5T_NATIVE_FLOAT, {values.size()}, values.data());
}

void Hdf5Writer::Flags(const std::string& key, std::span<const uint8_t> values) {
  const Lock lock(Hdf5Mutex());
  const Hdf5Id type(H5Tenum_create(H5T_STD_I8LE), H5Tclose);
  const int8_t no = 0, yes = 1;
  H5Tenum_insert(type, "FALSE", &no);
  H5Tenum_insert(type, "TRUE", &yes);
  Write(key, type, type, {values.size()}, values.data());
}

void Hdf5Writer::Text(const std::string& key, const std::string& value) {
  const Lock lock(Hdf5Mutex());
  const Hdf5Id type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type, value.size());
  H5Tset_strpad(type, H5T_STR_NULLPAD);
  Write(key, type, type, {}, value.data());
}

void Hdf5Writer::Integer(const std::string& key, int32_t value) {
  const Lock lock(Hdf5Mutex());
  Write(key, H5T_STD_I32LE, H5T_NATIVE_INT32, {}, &value);
}

void Hdf5Writer::Commit() {
  const Lock lock(Hdf5Mutex());
  errno = 0;
  if (H5Fflush(file_, H5F_SCOPE_GLOBAL) < 0) Fail("writing");
  if (H5Fclose(std::exchange(file_, -1)) < 0) Fail("closing");
  target_.Commit();
}

}  // namespace cosdt::datasets
