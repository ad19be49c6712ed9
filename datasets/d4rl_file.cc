#include "datasets/d4rl_file.h"

#include <algorithm>
#include <vector>

namespace cosdt::datasets {
namespace {

constexpr uint64_t kWidestRow = 1 << 16;

void ExpectNumbers(const Hdf5File& file, const std::string& key, const ArrayInfo& info) {
  if (info.type == NumberType::kOther)
    throw FileError(file.path(), key, "numeric values", "another type");
}

}  // namespace

D4rlFile::D4rlFile(const std::string& path, int threads) : file_(path), threads_(threads) {
  const auto matrix = [&](const std::string& key) {
    const ArrayInfo info = file_.Info(key);
    ExpectNumbers(file_, key, info);
    if (info.shape.size() != 2 || info.shape[1] < 1 || info.shape[1] > kWidestRow) {
      throw FileError(path, key, "shape (N, size)", ShapeString(info.shape));
    }
    return info.shape;
  };
  const std::vector<uint64_t> observations = matrix("observations");
  rows_ = observations[0];
  if (rows_ == 0) throw FileError(path, "observations", "at least one row", "none");
  observation_size_ = static_cast<int>(observations[1]);
  action_space_ = ReadActionSpace(file_, "actions");

  const auto expect = [&](const std::string& key, uint64_t width) {
    const ArrayInfo info = file_.Info(key);
    ExpectNumbers(file_, key, info);
    const std::vector<uint64_t> flat{rows_}, wide{rows_, width};
    if (info.shape == wide || (width == 1 && info.shape == flat)) return;
    throw FileError(path, key, "shape " + ShapeString(width == 1 ? flat : wide),
                    ShapeString(info.shape));
  };
  expect("actions", action_size());
  expect("rewards", 1);
  if (Has("next_observations")) expect("next_observations", observation_size_);
  if (Has("infos/action_log_probs")) expect("infos/action_log_probs", 1);
  for (const char* key : {"infos/qpos", "infos/qvel"}) {
    if (Has(key)) expect(key, matrix(key)[1]);
  }
}

std::string D4rlFile::ReadTask() const { return file_.Has(kTask) ? file_.ReadString(kTask) : ""; }

uint64_t D4rlFile::Width(const std::string& key) const {
  const std::vector<uint64_t> shape = file_.Shape(key);
  return shape.size() == 2 ? shape[1] : 1;
}

}  // namespace cosdt::datasets
