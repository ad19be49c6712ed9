#include "datasets/array_reader.h"

#include <libdeflate.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <vector>

#include "datasets/hdf5_id.h"
#include "datasets/unset_vector.h"

namespace cosdt::datasets {
namespace {

using Lock = std::lock_guard<std::recursive_mutex>;

enum class Stored { kFloat32, kFloat64, kInt8 };  // types that are converted here

// How a dataset's chunks lie and are packed.
struct ChunkPlan {
  hid_t dataset = -1;
  int rank = 1;
  uint64_t rows = 0, width = 0;              // of the dataset
  uint64_t chunk_rows = 0, chunk_width = 0;  // of a chunk
  Stored stored = Stored::kFloat32;
  size_t bytes = 4;  // of one stored number
  int deflate = -1;  // position in the pipeline, -1 where it is not used
  int shuffle = -1;

  uint64_t row_blocks() const { return (rows + chunk_rows - 1) / chunk_rows; }
  uint64_t columns() const { return (width + chunk_width - 1) / chunk_width; }
  size_t chunk_bytes() const { return chunk_rows * chunk_width * bytes; }
};

std::optional<Stored> StoredType(hid_t type) {
  if (H5Tequal(type, H5T_IEEE_F32LE) > 0) return Stored::kFloat32;
  if (H5Tequal(type, H5T_IEEE_F64LE) > 0) return Stored::kFloat64;
  if (H5Tequal(type, H5T_STD_I8LE) > 0) return Stored::kInt8;
  if (H5Tget_class(type) == H5T_ENUM) {
    const Hdf5Id base(H5Tget_super(type), H5Tclose);
    if (H5Tequal(base, H5T_STD_I8LE) > 0) return Stored::kInt8;
  }
  return std::nullopt;
}

// Nothing where the dataset must be left to H5Dread.
std::optional<ChunkPlan> PlanChunks(hid_t dataset, uint64_t rows, uint64_t width) {
  ChunkPlan plan{.dataset = dataset, .rows = rows, .width = width};
  const Hdf5Id type(H5Dget_type(dataset), H5Tclose);
  const std::optional<Stored> stored = StoredType(type);
  if (!stored) return std::nullopt;
  plan.stored = *stored;
  plan.bytes = H5Tget_size(type);

  const Hdf5Id properties(H5Dget_create_plist(dataset), H5Pclose);
  if (H5Pget_layout(properties) != H5D_CHUNKED) return std::nullopt;
  hsize_t chunk[2] = {1, 1};
  plan.rank = H5Pget_chunk(properties, 2, chunk);
  if (plan.rank < 1 || plan.rank > 2 || chunk[0] == 0 || chunk[1] == 0) return std::nullopt;
  plan.chunk_rows = chunk[0];
  plan.chunk_width = plan.rank == 2 ? chunk[1] : 1;

  const int filters = H5Pget_nfilters(properties);
  for (int i = 0; i < filters; ++i) {
    unsigned flags = 0;
    size_t values = 0;
    const H5Z_filter_t filter =
        H5Pget_filter2(properties, i, &flags, &values, nullptr, 0, nullptr, nullptr);
    if (filter == H5Z_FILTER_SHUFFLE && plan.shuffle < 0 && plan.deflate < 0) {
      plan.shuffle = i;
    } else if (filter == H5Z_FILTER_DEFLATE && plan.deflate < 0) {
      plan.deflate = i;
    } else {
      return std::nullopt;
    }
  }
  return plan;
}

// One thread's buffers, and what it does to a chunk.
template <typename T>
class ChunkReader {
 public:
  ChunkReader(const Hdf5File& file, const std::string& key, const ChunkPlan& plan, T* out)
      : file_(file),
        key_(key),
        plan_(plan),
        out_(out),
        inflate_(libdeflate_alloc_decompressor(), libdeflate_free_decompressor) {
    if (!inflate_) throw std::bad_alloc();
  }

  void Read(uint64_t row_block, uint64_t column) {
    const hsize_t offset[2] = {row_block * plan_.chunk_rows, column * plan_.chunk_width};
    uint32_t skipped = 0;  // bit i: filter i was not applied
    Fetch(offset, &skipped);
    const uint8_t* data = raw_.data();
    const auto applied = [&](int filter) { return filter >= 0 && !(skipped >> filter & 1); };
    if (applied(plan_.deflate)) {
      plain_.resize(plan_.chunk_bytes());
      if (libdeflate_zlib_decompress(inflate_.get(), raw_.data(), raw_.size(), plain_.data(),
                                     plain_.size(), nullptr) != LIBDEFLATE_SUCCESS) {
        Damaged(offset, "a damaged one");
      }
      data = plain_.data();
    }
    if (applied(plan_.shuffle)) {
      Unshuffle(data);
      data = unshuffled_.data();
    }
    switch (plan_.stored) {
      case Stored::kFloat32:
        return Scatter<float>(data, offset);
      case Stored::kFloat64:
        return Scatter<double>(data, offset);
      case Stored::kInt8:
        return Scatter<int8_t>(data, offset);
    }
  }

 private:
  [[noreturn]] void Damaged(const hsize_t* offset, const std::string& found) const {
    throw FileError(file_.path(), key_,
                    "a chunk of " + std::to_string(plan_.chunk_bytes()) + " bytes at row " +
                        std::to_string(offset[0]),
                    found);
  }

  // The chunk as stored. Sizes come from the file: they are checked before memory is taken.
  void Fetch(const hsize_t* offset, uint32_t* skipped) {
    const Lock lock(Hdf5Mutex());
    hsize_t size = 0;
    if (H5Dget_chunk_storage_size(plan_.dataset, offset, &size) < 0 || size == 0) {
      Damaged(offset, "none");
    }
    const uint64_t most = plan_.deflate >= 0 ? size * 1032 + 64 : size;
    if (size > file_.file_size() || plan_.chunk_bytes() > most) {
      Damaged(offset, std::to_string(size) + " stored bytes");
    }
    raw_.resize(size);
    if (H5Dread_chunk(plan_.dataset, H5P_DEFAULT, offset, skipped, raw_.data()) < 0) {
      Damaged(offset, "unreadable ones");
    }
    const bool deflated = plan_.deflate >= 0 && !(*skipped >> plan_.deflate & 1);
    if (!deflated && size != plan_.chunk_bytes()) {
      Damaged(offset, std::to_string(size) + " stored bytes");
    }
  }

  // HDF5's shuffle filter stores the first bytes of all numbers, then the second ones, and so on.
  void Unshuffle(const uint8_t* data) {
    const size_t count = plan_.chunk_bytes() / plan_.bytes;
    unshuffled_.resize(plan_.chunk_bytes());
    for (size_t byte = 0; byte < plan_.bytes; ++byte) {
      for (size_t i = 0; i < count; ++i) {
        unshuffled_[i * plan_.bytes + byte] = data[byte * count + i];
      }
    }
  }

  template <typename From>
  void Scatter(const uint8_t* data, const hsize_t* offset) {
    const uint64_t rows = std::min<uint64_t>(plan_.chunk_rows, plan_.rows - offset[0]);
    const uint64_t first = plan_.rank == 2 ? offset[1] : 0;
    const uint64_t width = std::min<uint64_t>(plan_.chunk_width, plan_.width - first);
    T* out = out_ + offset[0] * plan_.width + first;
    for (uint64_t row = 0; row < rows; ++row, out += plan_.width) {
      const uint8_t* from = data + row * plan_.chunk_width * sizeof(From);
      for (uint64_t i = 0; i < width; ++i) {
        From x;
        std::memcpy(&x, from + i * sizeof(From), sizeof(From));
        if constexpr (std::is_same_v<T, uint8_t>) {
          out[i] = x != 0;
        } else {
          out[i] = static_cast<T>(x);
        }
      }
    }
  }

  const Hdf5File& file_;
  const std::string& key_;
  const ChunkPlan& plan_;
  T* out_;
  std::unique_ptr<libdeflate_decompressor, void (*)(libdeflate_decompressor*)> inflate_;
  UnsetVector<uint8_t> raw_, plain_, unshuffled_;
};

template <typename T>
void ReadChunks(const Hdf5File& file, const std::string& key, const ChunkPlan& plan, T* out,
                int threads) {
  // One after the other, the chunks of the same rows find those rows of `out` in the cache. Where
  // chunks hold so many rows that threads would go without work, each chunk is handed out alone.
  const bool alone = plan.row_blocks() < 2 * static_cast<uint64_t>(threads);
  const uint64_t tasks = alone ? plan.row_blocks() * plan.columns() : plan.row_blocks();
  std::atomic<uint64_t> next = 0;
  std::mutex error_mutex;
  std::exception_ptr error;
  const auto work = [&] {
    try {
      ChunkReader<T> reader(file, key, plan, out);
      for (uint64_t task; (task = next++) < tasks;) {
        if (alone) {
          reader.Read(task / plan.columns(), task % plan.columns());
          continue;
        }
        for (uint64_t column = 0; column < plan.columns(); ++column) reader.Read(task, column);
      }
    } catch (...) {
      next = tasks;
      const std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
    }
  };
  std::vector<std::jthread> workers;
  const uint64_t useful = std::min<uint64_t>(threads, tasks);
  for (uint64_t i = 1; i < useful; ++i) workers.emplace_back(work);
  work();
  workers.clear();
  if (error) std::rethrow_exception(error);
}

template <typename T>
bool ReadWhole(hid_t dataset, std::span<T> out) {
  if constexpr (std::is_same_v<T, uint8_t>) {
    std::vector<float> values(out.size());
    if (!ReadWhole<float>(dataset, values)) return false;
    std::ranges::transform(values, out.begin(), [](float x) { return x != 0; });
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
  if (info.type == NumberType::kOther) throw FileError(file.path(), key, "numbers", "another type");
  if (out.size() != rows * width) {
    throw std::invalid_argument("ReadArray: expected room for " + std::to_string(rows * width) +
                                " numbers, found " + std::to_string(out.size()));
  }
  if (rows == 0) return;
  std::unique_lock lock(Hdf5Mutex());
  const Hdf5Id dataset(H5Dopen2(file.id(), key.c_str(), H5P_DEFAULT), H5Dclose);
  if (const std::optional<ChunkPlan> plan = PlanChunks(dataset, rows, width)) {
    lock.unlock();
    try {
      ReadChunks(file, key, *plan, out.data(), threads);
    } catch (...) {
      lock.lock();  // for closing the dataset
      throw;
    }
    lock.lock();
  } else if (!ReadWhole(dataset, out)) {
    throw FileError(file.path(), key, std::to_string(rows * width) + " readable numbers",
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
