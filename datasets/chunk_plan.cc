#include "datasets/chunk_plan.h"

namespace cosdt::datasets {
namespace {

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

// "lzf (filter 32000)".
std::string FilterName(H5Z_filter_t filter, const char* name) {
  return (*name ? name : "an unnamed filter") + (" (filter " + std::to_string(filter)) + ")";
}

// The filters found, and what makes a file of them that can be read.
[[noreturn]] void UnknownFilter(const Hdf5File& file, const std::string& key,
                                const std::string& found, H5Z_filter_t filter) {
  constexpr H5Z_filter_t kFirstPlugin = 256, kLzf = 32000;
  std::string help = "; 'h5repack -f SHUF -f GZIP=4 OLD NEW' repacks it";
  if (filter >= kFirstPlugin) help += " if HDF5_PLUGIN_PATH has the filter";
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

}  // namespace

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

void ThrowNeverWritten(const Hdf5File& file, const std::string& key) {
  throw FileError(file.path(), key, "data or a fill value", "storage that was never written");
}

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

}  // namespace cosdt::datasets
