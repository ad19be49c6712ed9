#include "agents/storage/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "datasets/atomic_file.h"
#include "datasets/file_descriptor.h"
#include "datasets/file_error.h"
#include "datasets/file_kind.h"

namespace cosdt::agents {
namespace {

using datasets::FileError;
using torch::ScalarType;
using Json = nlohmann::ordered_json;

static_assert(std::endian::native == std::endian::little);

constexpr uint64_t kMaxHeader = 100'000'000;  // the reference implementation's limit
constexpr size_t kAlignment = 8;              // of the values in the file

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
  throw std::invalid_argument(std::string("safetensors: expected a numeric type, found ") +
                              torch::toString(type));
}

// A wrong value as a message shows it: nothing of lists and objects, which may be nested
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
    throw FileError(path, name, "a numeric type such as F32", type_name);
  }
  entry.type = type->type;
  const auto integers = [&](const char* key) {
    const Json& list = field(key);
    std::vector<uint64_t> result;
    bool good = list.is_array();
    for (const Json& n : list) {
      if (!n.is_number_unsigned()) good = false;
      if (good) result.push_back(n.get<uint64_t>());
    }
    if (!good) {
      throw FileError(path, name, std::string("a list of integers as ") + key, Found(list));
    }
    return result;
  };
  const std::vector<uint64_t> shape = integers("shape"), offsets = integers("data_offsets");
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

// The file's tensors and metadata, as its header describes them.
struct Header {
  uint64_t data_begin = 0;     // in the file
  std::vector<Entry> entries;  // in the order of their data
  std::map<std::string, std::string> metadata;
};

// The JSON of a header and where it ends in the file.
std::pair<Json, uint64_t> ReadJson(const std::string& path, const datasets::FileDescriptor& file,
                                   uint64_t file_size) {
  uint64_t size = 0;
  if (file.ReadAt(0, &size, sizeof size) < sizeof size) {
    throw FileError(path, "", "a safetensors header", Bytes(file_size));
  }
  const uint64_t limit = std::min(kMaxHeader, file_size - sizeof size);
  if (size > limit) {
    throw FileError(path, "", "a safetensors header of at most " + Bytes(limit), Bytes(size));
  }
  std::string text(size, '\0');
  if (file.ReadAt(sizeof size, text.data(), size) < size) {
    throw FileError(path, "", "a header of " + Bytes(size), "the file's end");
  }
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) throw FileError(path, "", "a header in JSON", "none");
  return {std::move(json), sizeof size + size};
}

// Every byte belongs to one tensor: nothing overlaps, nothing is hidden.
void ExpectWhole(const std::string& path, const std::vector<Entry>& entries, uint64_t data_size) {
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
}

Header ReadHeader(const std::string& path, const datasets::FileDescriptor& file,
                  uint64_t file_size) {
  const auto [json, end] = ReadJson(path, file, file_size);
  Header header;
  header.data_begin = end;
  for (const auto& [name, entry] : json.items()) {
    if (name != "__metadata__") {
      header.entries.push_back(ParseEntry(path, name, entry));
      continue;
    }
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string()) {
        throw FileError(path, "__metadata__." + key, "a string", Found(value));
      }
      header.metadata[key] = value.get<std::string>();
    }
  }
  std::ranges::sort(header.entries, {}, [](const Entry& e) { return std::tie(e.begin, e.end); });
  ExpectWhole(path, header.entries, file_size - end);
  return header;
}

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
  const datasets::FileDescriptor file(path, O_RDONLY);
  struct stat info = {};
  if (!file.is_open() || fstat(file, &info) != 0) {
    throw FileError(path, "", "a readable file", std::strerror(errno));
  }
  Header header = ReadHeader(path, file, static_cast<uint64_t>(info.st_size));
  Safetensors result{.tensors = {}, .metadata = std::move(header.metadata)};
  for (const Entry& entry : header.entries) {
    torch::Tensor tensor = torch::empty(entry.shape, entry.type);
    const size_t size = tensor.nbytes();
    if (file.ReadAt(header.data_begin + entry.begin, tensor.data_ptr(), size) < size) {
      throw FileError(path, entry.name, Bytes(size), "the file's end");
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

  datasets::AtomicFile file(path);
  const uint64_t header_size = text.size();
  file.Append(&header_size, sizeof header_size);
  file.Append(text.data(), text.size());
  for (const auto& [name, tensor] : tensors) file.Append(tensor.data_ptr(), tensor.nbytes());
  file.Commit();
}

}  // namespace cosdt::agents
