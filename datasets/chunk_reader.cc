#include "datasets/chunk_reader.h"

#include <libdeflate.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "datasets/array_reader.h"
#include "datasets/unset_vector.h"

namespace cosdt::datasets {
namespace {

using Lock = std::lock_guard<std::recursive_mutex>;

// HDF5's checksum (H5checksum.c): Fletcher's sums of big-endian 16-bit words with end-around carry,
// so that a sum that 65535 divides is 65535, and 0 for nothing but zeros.
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

  // The chunk as stored; false if it never was. HDF5 says where it lies, and no more:
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
    if (!plan_.fill) ThrowNeverWritten(file_, key_);
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

  // HDF5's shuffle filter stores the first bytes of all values, then the second ones, and so on.
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

  // Values stored as From, loaded as Bits (which can be swapped), changed by kConvert.
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

}  // namespace

template <typename T>
void ReadChunks(const Hdf5File& file, const std::string& key, const ChunkPlan& plan, T* out,
                int threads) {
  // One after the other, the chunks of the same rows find those rows of `out` in the cache. If
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

template void ReadChunks(const Hdf5File&, const std::string&, const ChunkPlan&, float*, int);
template void ReadChunks(const Hdf5File&, const std::string&, const ChunkPlan&, double*, int);
template void ReadChunks(const Hdf5File&, const std::string&, const ChunkPlan&, uint8_t*, int);

}  // namespace cosdt::datasets
