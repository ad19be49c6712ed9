#include "datasets/array_reader.h"

#include <libdeflate.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
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

// deflate cannot shrink data further than this (RFC 1951: 258 bytes for two bits)
constexpr uint64_t kMaxCompression = 1032;

// A number as stored.
struct Stored {
  enum Kind { kFloat, kSigned, kUnsigned } kind = kFloat;
  size_t bytes = 4;
  bool big_endian = false;
};

// How a dataset's chunks lie and are packed.
struct ChunkPlan {
  hid_t dataset = -1;
  int rank = 1;
  uint64_t rows = 0, width = 0;              // of the dataset
  uint64_t chunk_rows = 0, chunk_width = 0;  // of a chunk
  Stored stored;
  // positions in the pipeline, -1 where a filter is not used
  int shuffle = -1;
  int deflate = -1;
  int fletcher32 = -1;
  bool plain_edges = false;  // filters leave out chunks that reach beyond the dataset
  // of chunks that were never written; none: they have no value
  std::optional<double> fill = std::nullopt;

  uint64_t row_blocks() const { return (rows + chunk_rows - 1) / chunk_rows; }
  uint64_t columns() const { return (width + chunk_width - 1) / chunk_width; }
  size_t chunk_bytes() const { return chunk_rows * chunk_width * stored.bytes; }
};

// Hdf5File::Info has made sure that it is one of numpy's types.
Stored StoredType(hid_t type) {
  if (H5Tget_class(type) == H5T_ENUM) return {Stored::kSigned, 1, false};
  const bool is_float = H5Tget_class(type) == H5T_FLOAT;
  const bool is_signed = !is_float && H5Tget_sign(type) == H5T_SGN_2;
  return {is_float    ? Stored::kFloat
          : is_signed ? Stored::kSigned
                      : Stored::kUnsigned,
          H5Tget_size(type), H5Tget_order(type) == H5T_ORDER_BE};
}

// What HDF5 says of storage that was never written. Nothing where it leaves that open.
std::optional<double> FillValue(hid_t properties) {
  H5D_fill_value_t defined = H5D_FILL_VALUE_ERROR;
  H5D_fill_time_t time = H5D_FILL_TIME_ERROR;
  double value = 0;
  if (H5Pfill_value_defined(properties, &defined) < 0 || H5Pget_fill_time(properties, &time) < 0 ||
      time == H5D_FILL_TIME_NEVER ||
      (defined != H5D_FILL_VALUE_DEFAULT && defined != H5D_FILL_VALUE_USER_DEFINED) ||
      H5Pget_fill_value(properties, H5T_NATIVE_DOUBLE, &value) < 0) {
    return std::nullopt;
  }
  return value;
}

[[noreturn]] void NeverWritten(const Hdf5File& file, const std::string& key) {
  throw FileError(file.path(), key, "data or a fill value", "storage that was never written");
}

// "lzf (filter 32000)".
std::string FilterName(H5Z_filter_t filter, const char* name) {
  return (*name ? name : "an unnamed filter") + (" (filter " + std::to_string(filter)) + ")";
}

// The filters found, and what makes a file of them that can be read.
[[noreturn]] void UnknownFilter(const Hdf5File& file, const std::string& key,
                                const std::string& found, H5Z_filter_t filter) {
  constexpr H5Z_filter_t kFirstPlugin = 256, kLzf = 32000;
  std::string help = "; 'h5repack -f SHUF -f GZIP=4 OLD NEW' repacks it";
  if (filter >= kFirstPlugin) help += " where HDF5_PLUGIN_PATH has the filter";
  if (filter == kLzf) help += ", or h5py, whose own it is, with compression=\"gzip\"";
  throw FileError(file.path(), key, "filters shuffle, deflate and fletcher32 in this order",
                  found + help);
}

// Puts the filters of a dataset into the plan.
void PlanFilters(const Hdf5File& file, const std::string& key, hid_t properties, ChunkPlan& plan) {
  std::string names;
  const int filters = H5Pget_nfilters(properties);
  for (int i = 0; i < filters; ++i) {
    unsigned flags = 0;
    size_t values = 0;
    char name[64] = "";
    const H5Z_filter_t filter =
        H5Pget_filter2(properties, i, &flags, &values, nullptr, sizeof name - 1, name, nullptr);
    names += (i ? ", " : "") + FilterName(filter, name);
    if (filter == H5Z_FILTER_SHUFFLE && i == 0) {
      plan.shuffle = i;
    } else if (filter == H5Z_FILTER_DEFLATE && plan.deflate < 0 && plan.fletcher32 < 0) {
      plan.deflate = i;
    } else if (filter == H5Z_FILTER_FLETCHER32 && plan.fletcher32 < 0) {
      plan.fletcher32 = i;
    } else {
      UnknownFilter(file, key, names, filter);
    }
  }
}

// Nothing where the dataset is not chunked.
std::optional<ChunkPlan> PlanChunks(const Hdf5File& file, const std::string& key, hid_t dataset,
                                    uint64_t rows, uint64_t width) {
  const Hdf5Id properties(H5Dget_create_plist(dataset), H5Pclose);
  if (H5Pget_layout(properties) != H5D_CHUNKED) return std::nullopt;
  const Hdf5Id type(H5Dget_type(dataset), H5Tclose);
  ChunkPlan plan{.dataset = dataset, .rows = rows, .width = width, .stored = StoredType(type)};
  hsize_t chunk[2] = {1, 1};
  plan.rank = H5Pget_chunk(properties, 2, chunk);
  if (plan.rank < 1 || plan.rank > 2 || chunk[0] == 0 || chunk[1] == 0) {
    throw FileError(file.path(), key, "chunks of a vector or matrix", "others");
  }
  plan.chunk_rows = chunk[0];
  plan.chunk_width = plan.rank == 2 ? chunk[1] : 1;

  const Hdf5Id creation(H5Fget_create_plist(file.id()), H5Pclose);
  hsize_t user_block = 0;
  if (H5Pget_userblock(creation, &user_block) < 0 || user_block != 0) {
    throw FileError(file.path(), "", "HDF5 from the first byte", "a user block before it");
  }

  PlanFilters(file, key, properties, plan);
  unsigned options = 0;
  H5Pget_chunk_opts(properties, &options);
  plan.plain_edges = options & H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS;
  plan.fill = FillValue(properties);
  if (plan.row_blocks() * plan.columns() > file.file_size()) {
    throw FileError(file.path(), key, "fewer chunks than bytes in the file", "more");
  }
  return plan;
}

// HDF5's checksum (H5checksum.c): Fletcher's sums of big-endian 16-bit words with end-around carry,
// so that a sum that 65535 divides is 65535, and 0 for zeros alone.
uint32_t Fletcher32(std::span<const uint8_t> bytes) {
  uint32_t sum1 = 0, sum2 = 0;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    const uint32_t low = i + 1 < bytes.size() ? bytes[i + 1] : 0;
    sum1 += static_cast<uint32_t>(bytes[i]) << 8 | low;
    sum1 = (sum1 & 0xffff) + (sum1 >> 16);
    sum2 += sum1;
    sum2 = (sum2 & 0xffff) + (sum2 >> 16);
  }
  return sum2 << 16 | sum1;
}

// IEEE's half precision: 1 sign, 5 exponent, 10 mantissa bits.
float HalfToFloat(uint16_t half) {
  const int exponent = half >> 10 & 31, mantissa = half & 1023;
  float x;
  if (exponent == 31) {
    x = mantissa == 0 ? INFINITY : NAN;
  } else if (exponent == 0) {
    x = std::ldexp(static_cast<float>(mantissa), -24);
  } else {
    x = std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  }
  return half >> 15 ? -x : x;
}

template <typename T, typename From>
T Narrow(From x) {
  if constexpr (std::is_same_v<T, uint8_t>) {
    return x != 0;
  } else {
    return static_cast<T>(x);
  }
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
    if (!Fetch(offset, &skipped)) return Fill(offset);
    if (plan_.plain_edges && IsPartial(offset)) skipped = ~0u;
    std::span<const uint8_t> data(raw_);
    const auto applied = [&](int filter) { return filter >= 0 && !(skipped >> filter & 1); };
    if (applied(plan_.fletcher32)) data = WithoutChecksum(data, offset);
    if (applied(plan_.deflate)) {
      // sizes come from the file: memory is taken for what so many bytes can hold
      if (plan_.chunk_bytes() > data.size() * kMaxCompression + 64) {
        Damaged(offset, std::to_string(data.size()) + " stored bytes");
      }
      plain_.resize(plan_.chunk_bytes());
      if (libdeflate_zlib_decompress(inflate_.get(), data.data(), data.size(), plain_.data(),
                                     plain_.size(), nullptr) != LIBDEFLATE_SUCCESS) {
        Damaged(offset, "a damaged one");
      }
      data = plain_;
    }
    if (data.size() != plan_.chunk_bytes()) {
      Damaged(offset, std::to_string(data.size()) + " stored bytes");
    }
    if (applied(plan_.shuffle)) {
      Unshuffle(data);
      data = unshuffled_;
    }
    Scatter(data.data(), offset);
  }

 private:
  [[noreturn]] void Damaged(const hsize_t* offset, const std::string& found) const {
    throw FileError(file_.path(), key_,
                    "a chunk of " + std::to_string(plan_.chunk_bytes()) + " bytes at row " +
                        std::to_string(offset[0]),
                    found);
  }

  // The chunk as stored; false where it never was. HDF5 says where it lies, and no more:
  // H5Dread_chunk reads as many bytes as its index says, which need not be what
  // H5Dget_chunk_storage_size told.
  bool Fetch(const hsize_t* offset, uint32_t* skipped) {
    haddr_t address = HADDR_UNDEF;
    hsize_t size = 0;
    {
      const Lock lock(Hdf5Mutex());
      if (H5Dget_chunk_info_by_coord(plan_.dataset, offset, skipped, &address, &size) < 0) {
        Damaged(offset, "a damaged index");
      }
    }
    if (address == HADDR_UNDEF) return false;
    if (size == 0) Damaged(offset, "none");
    if (size > file_.file_size() || address > file_.file_size() - size) {
      Damaged(offset, std::to_string(size) + " stored bytes beyond the file's end");
    }
    raw_.resize(size);
    if (!file_.ReadBytes(address, raw_)) Damaged(offset, "unreadable ones");
    return true;
  }

  bool IsPartial(const hsize_t* offset) const {
    return offset[0] + plan_.chunk_rows > plan_.rows ||
           (plan_.rank == 2 && offset[1] + plan_.chunk_width > plan_.width);
  }

  void Fill(const hsize_t* offset) {
    if (!plan_.fill) NeverWritten(file_, key_);
    const T value = Narrow<T>(*plan_.fill);
    const Block block = BlockAt(offset);
    for (uint64_t row = 0; row < block.rows; ++row) {
      std::fill_n(block.out + row * plan_.width, block.width, value);
    }
  }

  std::span<const uint8_t> WithoutChecksum(std::span<const uint8_t> data,
                                           const hsize_t* offset) const {
    constexpr size_t kBytes = 4;
    if (data.size() < kBytes) Damaged(offset, std::to_string(data.size()) + " stored bytes");
    const std::span<const uint8_t> sum = data.last(kBytes);
    const uint32_t stored = sum[0] | sum[1] << 8 | sum[2] << 16 | uint32_t{sum[3]} << 24;
    data = data.first(data.size() - kBytes);
    if (Fletcher32(data) != stored) Damaged(offset, "one with another checksum");
    return data;
  }

  // HDF5's shuffle filter stores the first bytes of all numbers, then the second ones, and so on.
  void Unshuffle(std::span<const uint8_t> data) {
    const size_t bytes = plan_.stored.bytes, count = data.size() / bytes;
    unshuffled_.resize(data.size());
    for (size_t byte = 0; byte < bytes; ++byte) {
      for (size_t i = 0; i < count; ++i) unshuffled_[i * bytes + byte] = data[byte * count + i];
    }
  }

  void Scatter(const uint8_t* data, const hsize_t* offset) {
    const size_t bytes = plan_.stored.bytes;
    switch (plan_.stored.kind) {
      case Stored::kFloat:
        return bytes == 4   ? ScatterAs<float, uint32_t>(data, offset)
               : bytes == 8 ? ScatterAs<double, uint64_t>(data, offset)
                            : ScatterAs<uint16_t, uint16_t, HalfToFloat>(data, offset);
      case Stored::kSigned:
        return bytes == 1   ? ScatterAs<int8_t, uint8_t>(data, offset)
               : bytes == 2 ? ScatterAs<int16_t, uint16_t>(data, offset)
               : bytes == 4 ? ScatterAs<int32_t, uint32_t>(data, offset)
                            : ScatterAs<int64_t, uint64_t>(data, offset);
      case Stored::kUnsigned:
        return bytes == 1   ? ScatterAs<uint8_t, uint8_t>(data, offset)
               : bytes == 2 ? ScatterAs<uint16_t, uint16_t>(data, offset)
               : bytes == 4 ? ScatterAs<uint32_t, uint32_t>(data, offset)
                            : ScatterAs<uint64_t, uint64_t>(data, offset);
    }
  }

  // The part of the output that a chunk fills.
  struct Block {
    uint64_t rows, width;
    T* out;
  };
  Block BlockAt(const hsize_t* offset) const {
    const uint64_t first = plan_.rank == 2 ? offset[1] : 0;
    return {std::min<uint64_t>(plan_.chunk_rows, plan_.rows - offset[0]),
            std::min<uint64_t>(plan_.chunk_width, plan_.width - first),
            out_ + offset[0] * plan_.width + first};
  }

  // Numbers stored as From, loaded as Bits (which can be swapped), changed by kConvert.
  template <typename From, typename Bits, auto kConvert = nullptr>
  void ScatterAs(const uint8_t* data, const hsize_t* offset) {
    const auto [rows, width, begin] = BlockAt(offset);
    const bool swap = plan_.stored.big_endian;
    T* out = begin;
    for (uint64_t row = 0; row < rows; ++row, out += plan_.width) {
      const uint8_t* from = data + row * plan_.chunk_width * sizeof(From);
      for (uint64_t i = 0; i < width; ++i) {
        Bits bits;
        std::memcpy(&bits, from + i * sizeof bits, sizeof bits);
        if (swap) bits = Swapped(bits);
        const From x = std::bit_cast<From>(bits);
        if constexpr (!std::is_null_pointer_v<decltype(kConvert)>) {
          out[i] = Narrow<T>(kConvert(x));
        } else {
          out[i] = Narrow<T>(x);
        }
      }
    }
  }

  template <typename Bits>
  static Bits Swapped(Bits bits) {
    Bits swapped = 0;
    for (size_t i = 0; i < sizeof bits; ++i) {
      swapped = static_cast<Bits>(swapped << 8 | (bits >> (8 * i) & 255));
    }
    return swapped;
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
    std::vector<double> values(out.size());  // float has zeros that double has not
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
  if (info.type == NumberType::kOther) throw FileError(file.path(), key, "numbers", "another type");
  if (out.size() != rows * width) {
    throw std::invalid_argument("ReadArray: expected room for " + std::to_string(rows * width) +
                                " numbers, found " + std::to_string(out.size()));
  }
  if (rows == 0) return;
  std::unique_lock lock(Hdf5Mutex());
  const Hdf5Id dataset(file.Open(key), H5Oclose);
  if (H5Dget_storage_size(dataset) == 0) {
    const Hdf5Id properties(H5Dget_create_plist(dataset), H5Pclose);
    const std::optional<double> fill = FillValue(properties);
    if (!fill) NeverWritten(file, key);
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
