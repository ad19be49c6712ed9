#include "datasets/array_reader.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "datasets/chunk_plan.h"
#include "datasets/chunk_reader.h"
#include "datasets/hdf5_id.h"

namespace cosdt::datasets {
namespace {

template <typename T>
bool ReadWhole(hid_t dataset, std::span<T> out) {
  if constexpr (std::is_same_v<T, uint8_t>) {
    std::vector<double> values(out.size());  // what is 0 as a float may not be as a double
    if (!ReadWhole<double>(dataset, values)) return false;
    std::ranges::transform(values, out.begin(), [](double x) { return x != 0; });
    return true;
  } else {
    const hid_t type = std::is_same_v<T, float> ? H5T_NATIVE_FLOAT : H5T_NATIVE_DOUBLE;
    return H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out.data()) >= 0;
  }
}

}  // namespace

template <typename T>
void ReadArray(const Hdf5File& file, const std::string& key, uint64_t rows, uint64_t width,
               std::span<T> out, int threads) {
  const ArrayInfo info = file.Info(key);
  const std::vector<uint64_t> flat{rows}, matrix{rows, width};
  if (info.shape != matrix && !(width == 1 && info.shape == flat)) {
    throw FileError(file.path(), key, "shape " + ShapeString(width == 1 ? flat : matrix),
                    ShapeString(info.shape));
  }
  if (info.type == NumberType::kOther)
    throw FileError(file.path(), key, "numeric values", "another type");
  if (out.size() != rows * width) {
    throw std::invalid_argument("ReadArray: expected room for " + std::to_string(rows * width) +
                                " values, found " + std::to_string(out.size()));
  }
  if (rows == 0) return;
  std::unique_lock lock(Hdf5Mutex());
  const Hdf5Id dataset(file.Open(key), H5Oclose);
  if (H5Dget_storage_size(dataset) == 0) {
    const Hdf5Id properties(H5Dget_create_plist(dataset), H5Pclose);
    const std::optional<double> fill = FillValue(properties);
    if (!fill) ThrowNeverWritten(file, key);
    std::ranges::fill(out, Narrow<T>(*fill));
  } else if (const std::optional<ChunkPlan> plan = PlanChunks(file, key, dataset, rows, width)) {
    lock.unlock();
    try {
      ReadChunks(file, key, *plan, out.data(), threads);
    } catch (...) {
      lock.lock();  // for closing the dataset
      throw;
    }
    lock.lock();
  } else if (!ReadWhole(dataset, out)) {
    throw FileError(file.path(), key, std::to_string(rows * width) + " readable values",
                    "damaged data");
  }
}

template void ReadArray(const Hdf5File&, const std::string&, uint64_t, uint64_t, std::span<float>,
                        int);
template void ReadArray(const Hdf5File&, const std::string&, uint64_t, uint64_t, std::span<double>,
                        int);
template void ReadArray(const Hdf5File&, const std::string&, uint64_t, uint64_t, std::span<uint8_t>,
                        int);

}  // namespace cosdt::datasets
