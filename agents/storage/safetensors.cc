#include "agents/storage/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "datasets/file_kind.h"
#include "datasets/hdf5_file.h"

namespace cosdt::agents {
namespace {

using datasets::FileError;
using torch::ScalarType;
using Json = nlohmann::ordered_json;

static_assert(std::endian::native == std::endian::little);

constexpr uint64_t kMaxHeader = 100'000'000;  // the reference implementation's limit
constexpr size_t kAlignment = 8;              // of the numbers in the file

struct Type {
  const char* name;
  ScalarType type;
};
constexpr Type kTypes[] = {
    {"F64", torch::kFloat64},   {"F32", torch::kFloat32}, {"F16", torch::kFloat16},
    {"BF16", torch::kBFloat16}, {"I64", torch::kInt64},   {"I32", torch::kInt32},
    {"I16", torch::kInt16},     {"I8", torch::kInt8},     {"U8", torch::kUInt8},
    {"BOOL", torch::kBool},
};

const char* NameOf(ScalarType type) {
  for (const Type& t : kTypes) {
    if (t.type == type) return t.name;
  }
  throw std::invalid_argument(std::string("safetensors: expected a type of numbers, found ") +
                              torch::toString(type));
}

class File {
 public:
  File(const std::string& path, int flags)
      : descriptor(open(path.c_str(), flags | O_CLOEXEC, 0666)) {}
  ~File() {
    if (descriptor >= 0) close(descriptor);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const int descriptor;
};

// Reads all of the span, or returns false.
bool ReadAll(const File& file, void* to, size_t size) {
  auto* out = static_cast<char*>(to);
  while (size > 0) {
    const ssize_t n = read(file.descriptor, out, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    out += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

// What a message shows of a value that is wrong: nothing of lists and objects, which may be nested
// deeper than a stack is.
std::string Found(const Json& value) {
  if (value.is_structured()) return value.is_array() ? "another list" : "an object";
  const std::string text = value.dump();
  return text.size() <= 40 ? text : text.substr(0, 37) + "...";
}

std::string Bytes(uint64_t n) { return std::to_string(n) + " bytes"; }

// One entry of the header.
struct Entry {
  std::string name;
  ScalarType type;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;
};

Entry ParseEntry(const std::string& path, const std::string& name, const Json& json) {
  const auto field = [&](const char* key) -> const Json& {
    if (!json.is_object() || !json.contains(key)) {
      throw FileError(path, name, std::string("the field ") + key, "none");
    }
    return json[key];
  };
  Entry entry;
  entry.name = name;
  const Json& dtype = field("dtype");
  const std::string type_name = dtype.is_string() && dtype.get_ref<const std::string&>().size() < 40
                                    ? dtype.get<std::string>()
                                    : Found(dtype);
  const auto* type =
      std::ranges::find_if(kTypes, [&](const Type& t) { return type_name == t.name; });
  if (type == std::end(kTypes)) {
    throw FileError(path, name, "a type of numbers such as F32", type_name);
  }
  entry.type = type->type;
  const auto numbers = [&](const char* key) {
    const Json& list = field(key);
    std::vector<uint64_t> result;
    bool good = list.is_array();
    for (const Json& n : list) {
      if (!n.is_number_unsigned()) good = false;
      if (good) result.push_back(n.get<uint64_t>());
    }
    if (!good) {
      throw FileError(path, name, std::string("a list of whole numbers as ") + key, Found(list));
    }
    return result;
  };
  const std::vector<uint64_t> shape = numbers("shape"), offsets = numbers("data_offsets");
  uint64_t size = torch::elementSize(entry.type);
  for (const uint64_t n : shape) {
    if (n > INT64_MAX || __builtin_mul_overflow(size, n, &size)) {
      throw FileError(path, name, "a shape that fits memory", field("shape").dump());
    }
    entry.shape.push_back(static_cast<int64_t>(n));
  }
  if (offsets.size() != 2 || offsets[1] < offsets[0] || offsets[1] - offsets[0] != size) {
    throw FileError(path, name, Bytes(size) + " for " + type_name + " " + field("shape").dump(),
                    "data_offsets " + field("data_offsets").dump());
  }
  entry.begin = offsets[0];
  entry.end = offsets[1];
  return entry;
}

void Fail(const std::string& path, const std::string& what) {
  throw std::runtime_error(path + ": " + what + " failed: " + std::strerror(errno));
}

void WriteAll(const std::string& path, const File& file, const void* from, size_t size) {
  const auto* bytes = static_cast<const char*>(from);
  while (size > 0) {
    const ssize_t n = write(file.descriptor, bytes, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) Fail(path, "writing");
    bytes += n;
    size -= static_cast<size_t>(n);
  }
}

// Removes a temporary file that was not renamed.
struct Temporary {
  std::string path;
  ~Temporary() { unlink(path.c_str()); }
};

}  // namespace

torch::Tensor Safetensors::Get(const std::string& file, const std::string& name,
                               torch::IntArrayRef shape, ScalarType type) const {
  const auto describe = [](torch::IntArrayRef s, ScalarType t) {
    return std::string(NameOf(t)) + " " + c10::str(s);
  };
  const auto found = tensors.find(name);
  if (found == tensors.end()) throw FileError(file, name, describe(shape, type), "none");
  if (found->second.sizes() != shape || found->second.scalar_type() != type) {
    throw FileError(file, name, describe(shape, type),
                    describe(found->second.sizes(), found->second.scalar_type()));
  }
  return found->second;
}

void Safetensors::ExpectElements(const std::string& file, const std::string& key,
                                 double count) const {
  double elements = 0;
  for (const auto& [name, tensor] : tensors) elements += static_cast<double>(tensor.numel());
  if (count <= elements) return;
  char expected[64], found[32];
  std::snprintf(expected, sizeof expected, "at most %.10g weights, as the file has", elements);
  std::snprintf(found, sizeof found, "options for %.10g", count);
  throw FileError(file, key, expected, found);
}

Safetensors ReadSafetensors(const std::string& path) {
  if (const std::string why = datasets::WhyNoFile(path); !why.empty()) {
    throw FileError(path, "", "a readable file", why);
  }
  const File file(path, O_RDONLY);
  struct stat info = {};
  if (file.descriptor < 0 || fstat(file.descriptor, &info) != 0) {
    throw FileError(path, "", "a readable file", std::strerror(errno));
  }
  const auto size = static_cast<uint64_t>(info.st_size);
  uint64_t header_size = 0;
  if (size < sizeof header_size || !ReadAll(file, &header_size, sizeof header_size)) {
    throw FileError(path, "", "a safetensors header", Bytes(size));
  }
  if (header_size > kMaxHeader || header_size > size - sizeof header_size) {
    throw FileError(
        path, "",
        "a safetensors header of at most " + Bytes(std::min(kMaxHeader, size - sizeof header_size)),
        Bytes(header_size));
  }
  std::string text(header_size, '\0');
  if (!ReadAll(file, text.data(), text.size())) {
    throw FileError(path, "", "a header of " + Bytes(header_size), "the file's end");
  }
  const Json header = Json::parse(text, nullptr, false);
  if (!header.is_object()) throw FileError(path, "", "a header in JSON", "none");

  Safetensors result;
  std::vector<Entry> entries;
  for (const auto& [name, json] : header.items()) {
    if (name != "__metadata__") {
      entries.push_back(ParseEntry(path, name, json));
      continue;
    }
    for (const auto& [key, value] : json.items()) {
      if (!value.is_string()) throw FileError(path, "__metadata__." + key, "a text", Found(value));
      result.metadata[key] = value.get<std::string>();
    }
  }
  // every byte belongs to one tensor: nothing overlaps, nothing is hidden
  std::ranges::sort(entries, {}, [](const Entry& e) { return std::tie(e.begin, e.end); });
  const uint64_t data_size = size - sizeof header_size - header_size;
  uint64_t position = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != position) {
      throw FileError(path, entry.name, "data at byte " + std::to_string(position),
                      std::to_string(entry.begin));
    }
    if (entry.end > data_size) {
      throw FileError(path, entry.name, Bytes(entry.end) + " of data", Bytes(data_size));
    }
    position = entry.end;
  }
  if (position != data_size) {
    throw FileError(path, "", Bytes(position) + " of data", Bytes(data_size));
  }
  for (const Entry& entry : entries) {
    torch::Tensor tensor = torch::empty(entry.shape, entry.type);
    if (!ReadAll(file, tensor.data_ptr(), tensor.nbytes())) {
      throw FileError(path, entry.name, Bytes(tensor.nbytes()), "the file's end");
    }
    result.tensors[entry.name] = tensor;
  }
  return result;
}

void WriteSafetensors(const std::string& path, const Safetensors& contents) {
  // wide types first: with an aligned header every tensor is aligned, too
  std::vector<std::pair<std::string, torch::Tensor>> tensors(contents.tensors.begin(),
                                                             contents.tensors.end());
  std::ranges::stable_sort(tensors, std::ranges::greater(),
                           [](const auto& t) { return t.second.element_size(); });
  Json header = Json::object();
  if (!contents.metadata.empty()) header["__metadata__"] = contents.metadata;
  uint64_t position = 0;
  for (auto& [name, tensor] : tensors) {
    tensor = tensor.detach().cpu().contiguous();
    const uint64_t end = position + tensor.nbytes();
    header[name] = {{"dtype", NameOf(tensor.scalar_type())},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {position, end}}};
    position = end;
  }
  std::string text = header.dump();
  text.append((kAlignment - text.size() % kAlignment) % kAlignment, ' ');

  const Temporary temporary{path + "." + std::to_string(getpid()) + ".tmp"};
  {
    const File file(temporary.path, O_WRONLY | O_CREAT | O_TRUNC);
    if (file.descriptor < 0) Fail(path, "creating " + temporary.path);
    const uint64_t header_size = text.size();
    WriteAll(path, file, &header_size, sizeof header_size);
    WriteAll(path, file, text.data(), text.size());
    for (const auto& [name, tensor] : tensors) {
      WriteAll(path, file, tensor.data_ptr(), tensor.nbytes());
    }
    if (fsync(file.descriptor) != 0) Fail(path, "syncing");
  }
  if (rename(temporary.path.c_str(), path.c_str()) != 0) Fail(path, "renaming to the final name");
  // so that the new name outlasts a loss of power
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  const File parent(folder.empty() ? "." : folder.string(), O_RDONLY | O_DIRECTORY);
  if (parent.descriptor < 0 || fsync(parent.descriptor) != 0) Fail(path, "syncing the folder");
}

}  // namespace cosdt::agents
