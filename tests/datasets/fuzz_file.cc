#include "tests/datasets/fuzz_file.h"

#include <hdf5.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <vector>

#include "datasets/check.h"
#include "datasets/episodes.h"
#include "datasets/normalizer.h"
#include "datasets/policy_file.h"
#include "datasets/summary.h"
#include "datasets/window_sampler.h"

namespace cosdt::datasets {
namespace {

// Hands out the input; zeros after its end.
class Input {
 public:
  explicit Input(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  uint8_t Byte() { return at_ < bytes_.size() ? bytes_[at_++] : 0; }
  // One time in `n`, as far as the input is random; never if it has ended.
  bool OneIn(int n) { return Byte() % n == 1; }

 private:
  std::span<const uint8_t> bytes_;
  size_t at_ = 0;
};

// A flag is seldom anything else than 0 or 1, or nothing of the file would be read.
double Value(Input& input, bool is_flag) {
  const uint8_t byte = input.Byte();
  if (is_flag && byte < 250) return byte % 8 == 0;
  switch (byte) {
    case 255:
      return NAN;
    case 254:
      return std::numeric_limits<double>::infinity();
    case 253:
      return 1e300;
    default:
      return byte / 64.0 - 1;
  }
}

void WriteKey(hid_t file, const std::string& key, std::vector<hsize_t> shape, Input& input) {
  const bool is_flag = key.starts_with("t") || key.find("/t") != std::string::npos;
  if (input.OneIn(24)) return;  // missing
  if (input.OneIn(12)) shape[0] += input.Byte() % 3;
  if (input.OneIn(16)) shape.push_back(1 + input.Byte() % 2);
  if (input.OneIn(24)) shape[0] = 0;
  const bool huge = input.OneIn(24);
  if (huge) shape[0] = hsize_t{1} << (20 + input.Byte() % 40);
  const hid_t types[] = {H5T_IEEE_F32LE, H5T_IEEE_F64LE, H5T_STD_I8LE,  H5T_IEEE_F32BE,
                         H5T_STD_U16LE,  H5T_STD_I64BE,  H5T_NATIVE_B8, H5T_C_S1};
  const uint8_t choice = input.Byte();
  const hid_t type = types[choice < 200 ? choice % 3 : choice % std::size(types)];

  const auto rank = static_cast<int>(shape.size());
  const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
  const bool chunked = huge || !input.OneIn(4);
  std::vector<hsize_t> chunk;
  if (chunked) {
    for (const hsize_t n : shape) {
      chunk.push_back(1 + input.Byte() % std::clamp<hsize_t>(n, 1, 32));
    }
    if (input.OneIn(24)) chunk[0] = hsize_t{1} << (10 + input.Byte() % 20);
    for (size_t i = 0; i < shape.size(); ++i) {
      chunk[i] = std::min(chunk[i], std::max<hsize_t>(shape[i], 1));
    }
    H5Pset_chunk(properties, rank, chunk.data());
    if (input.OneIn(4)) H5Pset_shuffle(properties);
    if (!input.OneIn(4)) H5Pset_deflate(properties, input.Byte() % 10);
    if (input.OneIn(16)) H5Pset_fletcher32(properties);
  }
  const hid_t links = H5Pcreate(H5P_LINK_CREATE);
  H5Pset_create_intermediate_group(links, 1);
  const hid_t space = H5Screate_simple(rank, shape.data(), nullptr);
  const hid_t dataset = H5Dcreate2(file, key.c_str(), type, space, links, properties, H5P_DEFAULT);
  hsize_t count = 1;
  for (const hsize_t n : shape) count *= n;
  if (dataset >= 0 && !huge && count > 0 && count < 4096) {
    std::vector<double> values(count);
    for (double& x : values) x = Value(input, is_flag);
    H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
  }
  if (dataset >= 0 && chunked && count > 0 && input.OneIn(6)) {
    // raw chunks: any bytes, any size, any filters left out
    for (int i = input.Byte() % 3; i >= 0; --i) {
      std::vector<hsize_t> offset(shape.size());
      for (size_t axis = 0; axis < offset.size(); ++axis) {
        const hsize_t chunks = (shape[axis] + chunk[axis] - 1) / chunk[axis];
        offset[axis] = chunks == 0 ? 0 : input.Byte() % chunks * chunk[axis];
      }
      std::vector<uint8_t> raw(1 + input.Byte() % 200);
      for (uint8_t& byte : raw) byte = input.Byte();
      if (input.OneIn(2)) raw[0] = 0x78;  // how zlib streams begin
      H5Dwrite_chunk(dataset, H5P_DEFAULT, input.Byte() % 8, offset.data(), raw.size(), raw.data());
    }
  }
  if (dataset >= 0) H5Dclose(dataset);
  H5Sclose(space);
  H5Pclose(links);
  H5Pclose(properties);
}

void WriteD4rl(hid_t file, Input& input) {
  const hsize_t rows = 1 + input.Byte() % 60;
  const bool hopper = !input.OneIn(3);
  const hsize_t observation = hopper ? 11 : 17, action = hopper ? 3 : 6, half = hopper ? 6 : 9;
  WriteKey(file, "observations", {rows, observation}, input);
  WriteKey(file, "actions", {rows, action}, input);
  WriteKey(file, "rewards", {rows}, input);
  WriteKey(file, "terminals", {rows}, input);
  if (!input.OneIn(3)) WriteKey(file, "timeouts", {rows}, input);
  if (input.OneIn(2)) WriteKey(file, "next_observations", {rows, observation}, input);
  if (input.OneIn(3)) WriteKey(file, "infos/action_log_probs", {rows}, input);
  if (input.OneIn(3)) WriteKey(file, "infos/qpos", {rows, half}, input);
  if (input.OneIn(3)) WriteKey(file, "infos/qvel", {rows, half}, input);
}

void WriteMinari(hid_t file, Input& input) {
  for (int i = input.Byte() % 5; i >= 0; --i) {
    const std::string group = "episode_" + std::to_string(input.Byte() % 12) + "/";
    const hsize_t steps = 1 + input.Byte() % 9;
    WriteKey(file, group + "observations", {steps + 1, 11}, input);
    WriteKey(file, group + "actions", {steps, 3}, input);
    WriteKey(file, group + "rewards", {steps}, input);
    WriteKey(file, group + "terminations", {steps}, input);
    WriteKey(file, group + "truncations", {steps}, input);
  }
}

template <typename Work>
void OrFileError(const Work& work) {
  try {
    work();
  } catch (const FileError&) {
  }
}

}  // namespace

void FuzzFile(std::span<const uint8_t> bytes, const std::string& path) {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  Input input(bytes);
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  if (input.OneIn(4)) {
    WriteMinari(file, input);
  } else {
    WriteD4rl(file, input);
  }
  H5Fclose(file);

  OrFileError([&] {
    Episodes episodes = ReadEpisodes(path, {.keep_partial = true, .threads = 2});
    Summarize(path, episodes, nullptr);
    MakeNormalizer(episodes);
    WindowSampler sampler(episodes, {.context = 5});
    std::vector<Window> windows(3);
    sampler.Sample(windows);
    KeepEpisodes(episodes, TopEpisodes(episodes, 50));
  });
  OrFileError([&] {
    const D4rlFile opened(path);
    const Transitions transitions = ReadTransitions(opened);
    CheckTransitions(path, transitions,
                     CutEpisodes(transitions.terminals, transitions.timeouts, 1000),
                     {.body = GuessBody(path, transitions.observation_size, transitions.action_size,
                                        transitions.observations[0])});
  });
  OrFileError([&] { ReadPolicy(Hdf5File(path)); });
}

}  // namespace cosdt::datasets
