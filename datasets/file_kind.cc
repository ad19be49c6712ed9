#include "datasets/file_kind.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace cosdt::datasets {
namespace {

using namespace std::string_view_literals;

struct Signature {
  size_t offset;
  std::string_view bytes;
  const char* kind;
};

constexpr Signature kSignatures[] = {
    {0, "version https://git-lfs."sv, "a Git LFS pointer ('git lfs pull' fetches the file)"},
    {0, "PK\x03\x04"sv, "a zip archive (such as .npz and PyTorch's .pt)"},
    {0, "\x1F\x8B"sv, "a gzip file ('gunzip' unpacks it)"},
    {0, "BZh"sv, "a bzip2 file ('bunzip2' unpacks it)"},
    {0,
     "\xFD"
     "7zXZ\0"sv,
     "an xz file ('unxz' unpacks it)"},
    {0, "\x28\xB5\x2F\xFD"sv, "a zstd file ('unzstd' unpacks it)"},
    {257, "ustar"sv, "a tar archive"},
    {0, "\x93NUMPY"sv, "a NumPy array (.npy)"},
    {8, "{\""sv, "a safetensors file"},
    {0, "PAR1"sv, "a Parquet file"},
    {0, "ARROW1"sv, "an Arrow file"},
    {0, "\x0E\x03\x13\x01"sv, "an HDF4 file"},
};

// By the first letters, without regard to case.
bool BeginsWith(std::string_view text, std::string_view lower) {
  return text.size() >= lower.size() &&
         std::ranges::equal(text.substr(0, lower.size()), lower, {},
                            [](unsigned char c) { return std::tolower(c); });
}

bool IsPickle(std::string_view bytes) {
  // protocols 2 to 5 begin with their number
  return bytes.size() > 1 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5;
}

}  // namespace

std::string WhyNoFile(const std::string& path) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return "none";
    return errno == EACCES ? "no permission to read it" : std::strerror(errno);
  }
  switch (status.st_mode & S_IFMT) {
    case S_IFREG:
      return access(path.c_str(), R_OK) == 0 ? "" : "no permission to read it";
    case S_IFDIR:
      return "a folder";
    case S_IFIFO:
      return "a FIFO";
    case S_IFSOCK:
      return "a socket";
    default:
      return "a device";
  }
}

std::string KindOfBytes(std::span<const uint8_t> head) {
  const std::string_view bytes(reinterpret_cast<const char*>(head.data()), head.size());
  if (bytes.empty()) return "an empty file";
  for (const Signature& s : kSignatures) {
    if (bytes.size() > s.offset && bytes.substr(s.offset).starts_with(s.bytes)) return s.kind;
  }
  if (IsPickle(bytes)) return "a pickle";
  if (std::ranges::all_of(bytes, [](char c) { return c == '\0'; })) return "zeros";
  const std::string_view text =
      bytes.substr(std::min(bytes.find_first_not_of(" \t\r\n"), bytes.size()));
  if (BeginsWith(text, "<!doctype html") || BeginsWith(text, "<html")) return "a web page";
  if (BeginsWith(text, "<?xml")) return "XML";
  const bool readable = std::ranges::all_of(
      bytes, [](unsigned char c) { return c >= ' ' || (c >= '\t' && c <= '\r'); });
  return readable ? "text" : "other data";
}

}  // namespace cosdt::datasets
