#include "datasets/hdf5_open.h"

#include <sys/file.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <span>

#include "datasets/file_kind.h"
#include "datasets/file_lock.h"
#include "datasets/hdf5_file.h"
#include "datasets/hdf5_id.h"

namespace cosdt::datasets {
namespace {

constexpr char kLockingVariable[] = "HDF5_USE_FILE_LOCKING";  // of HDF5

// The part of HDF5's superblock (its format specification, II.A) that says why a file is not
// opened.
struct Superblock {
  unsigned version = 0;
  bool marked = false;  // as open for writing
  uint64_t end = 0;     // bytes that the file has when it is whole, as far as that is told
};

// The error of a lock as HDF5 takes it for reading, 0 if there is none. Takes nothing.
int LockError(int descriptor) {
  if (descriptor < 0) return 0;
  if (flock(descriptor, LOCK_SH | LOCK_NB) != 0) return errno;
  flock(descriptor, LOCK_UN);
  return 0;
}

// Where HDF5 begins: at 0 or behind a user block of 512, 1024, .. bytes.
std::optional<uint64_t> FindSignature(const Hdf5File& file) {
  constexpr std::array<uint8_t, 8> kSignature = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1A, '\n'};
  std::array<uint8_t, 8> bytes;
  for (uint64_t at = 0; file.ReadBytes(at, bytes); at = at == 0 ? 512 : 2 * at) {
    if (bytes == kSignature) return at;
  }
  return std::nullopt;
}

// Nothing if the file ends within it.
std::optional<Superblock> ReadSuperblock(const Hdf5File& file, uint64_t at) {
  std::array<uint8_t, 64> bytes{};
  const uint64_t size = std::min<uint64_t>(bytes.size(), file.file_size() - at);
  if (size < 16 || !file.ReadBytes(at, std::span(bytes).first(size))) return std::nullopt;
  Superblock block{.version = bytes[8]};
  if (block.version > 3) return block;
  const bool old = block.version < 2;
  const size_t width = bytes[old ? 13 : 9];  // of an address
  const size_t base = block.version == 0 ? 24 : old ? 28 : 12;
  const size_t end = base + 2 * width;  // the third address
  if (width > 8 || !std::has_single_bit(width)) return block;
  if (end + width > size) return std::nullopt;
  block.marked = block.version == 3 && bytes[11] != 0;
  for (size_t i = width; i-- > 0;) block.end = block.end << 8 | bytes[end + i];
  return block;
}

}  // namespace

int64_t OpenUnderLock(const std::string& path, int descriptor) {
  // whoever sets the variable has decided
  const int error = std::getenv(kLockingVariable) ? 0 : LockError(descriptor);
  if (!HasNoLocks(error)) return H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  WarnWithoutLock(path, error);
  // never closed: that would forget why a file does not open
  static const hid_t unlocked = [] {
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_file_locking(access, false, true);
    return access;
  }();
  return H5Fopen(path.c_str(), H5F_ACC_RDONLY, unlocked);
}

std::string WhyNotOpened(const Hdf5File& file, int descriptor) {
  const std::string newer = WhyNewer();  // asked first: further calls forget it
  const std::optional<uint64_t> at = FindSignature(file);
  if (!at) {
    std::vector<uint8_t> head(std::min<uint64_t>(file.file_size(), 512));
    return file.ReadBytes(0, head) ? KindOfBytes(head) : "bytes that cannot be read";
  }
  const std::optional<Superblock> block = ReadSuperblock(file, *at);
  if (!block) return "only the beginning of one (" + std::to_string(file.file_size()) + " bytes)";
  const int lock = LockError(descriptor);
  if (lock == EWOULDBLOCK) return "one that another process has open for writing";
  if (block->marked) {
    return "one that is marked as open for writing, as a writer that crashed leaves it ('h5clear "
           "-s " +
           file.path() + "' clears the mark)";
  }
  if (block->end > file.file_size()) {
    return "half a file: " + std::to_string(file.file_size()) + " of " +
           std::to_string(block->end) + " bytes";
  }
  if (!newer.empty()) return newer;
  if (lock != 0 && std::getenv(kLockingVariable)) {
    return std::string("no lock for it, which ") + kLockingVariable +
           " asks for: " + std::strerror(lock);
  }
  return "damage in its first structures";
}

std::string WhyNewer() {
  bool found = false;
  const auto look = [](unsigned, const H5E_error2_t* error, void* out) -> herr_t {
    // some have the number for it, others only the words ("bad version number for ..")
    *static_cast<bool*>(out) |= error->min_num == H5E_VERSION ||
                                (error->desc && std::strstr(error->desc, "version number"));
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, look, &found);
  if (!found) return "";
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return "a format newer than that of HDF5 " + std::to_string(major) + "." + std::to_string(minor) +
         "." + std::to_string(release) +
         ", which is linked (h5py writes an older one with libver=\"earliest\"), or damage";
}

}  // namespace cosdt::datasets
