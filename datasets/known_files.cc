#include "datasets/known_files.h"

#include <algorithm>
#include <filesystem>

#include "datasets/file_error.h"
#include "datasets/sha256.h"

namespace cosdt::datasets {
namespace {

// sizes, hashes, episodes and returns as measured on D4RL's server's files
const KnownFile kFiles[] = {
    {"hopper_random-v2", 152525345,
     "63103ef7059db4c0819bd054f4e83ff339030b50bcdb46bdbe50385f234b5054", 45240, std::nullopt},
    {"hopper_medium-v2", 152756557,
     "5bdf1bc4a713c82941de44633df669b36c89850b652a25985166796d25cf71a0", 2187,
     ReturnStatistics{1422.06, 378.95, 315.87, 3222.36}},
    {"hopper_medium_replay-v2", 75854457,
     "e121c5f7c9857a307baa9edc6a2c3b48e85fedb9ac316ecddd0f48ca7ef4e39b", 2041,
     ReturnStatistics{467.3, 511.03, -1.44, 3192.93}},
    {"hopper_full_replay-v2", 187998921,
     "56baf95963c51c1e964049a974566c50ba80f289390565523e60c0ba83e0982e", 3515, std::nullopt},
    {"hopper_medium_expert-v2", 304537315,
     "9d51ad87f8c905be3880d84c6140bcdb7fbf39a19e046a237f238ba34fec9e26", 3214, std::nullopt},
    {"hopper_expert-v2", 152427435,
     "01aa219a5f8eea5e639eccdc636ec2bf40e317159a95cf4bf6e985f16909941b", 1028,
     ReturnStatistics{3511.36, 328.59, 1645.28, 3759.08}},
    {"halfcheetah_random-v2", 237338037,
     "25407aef85b5d16c0f36b4149341edb4acc6a9e88c1db529b2de19e7464874ba", 1000, std::nullopt},
    {"halfcheetah_medium-v2", 237727262,
     "41324e8487a9556d8cfa4538827f8937f4d63dae3030825ebc9f3a726ed08ca0", 1000,
     ReturnStatistics{4770.33, 355.75, -310.23, 5309.38}},
    {"halfcheetah_medium_replay-v2", 59448533,
     "48d494a4770c11f48260736dec090b78bdca8375647ed4d24bfa5b6610c7f683", 202,
     ReturnStatistics{3093.29, 1680.69, -638.49, 4985.14}},
    {"halfcheetah_full_replay-v2", 291381762,
     "27fdf7ea86e5a2cbd24d611ae9e703c86ec2e8e52823abc69dd9af6afb3a36c0", 1000, std::nullopt},
    {"halfcheetah_medium_expert-v2", 474567252,
     "015db75dae5bbe8e94029b71fa0bafc2073365df0c94744e71031189f3f79c06", 2000, std::nullopt},
    {"halfcheetah_expert-v2", 237464597,
     "d9fe53bb994eb1e20a99b4fa3412cd76a1bb7966a7ff55e0fcbdd6081bd2965f", 1000,
     ReturnStatistics{10656.43, 441.68, 2045.83, 11252.04}},
    {"walker2d_medium_replay-v2", 86323963,
     "e75de96a4f77acf7d4e0d6fdf0d7ccb177c26c44bb4388e4fd99f543ccfa18db", 1093,
     ReturnStatistics{682.7, 895.96, -50.2, 4132.0}},
    {"walker2d_random-v2", 216109364, "", 48908, std::nullopt},
    {"walker2d_medium-v2", 232254996, "", 1191, ReturnStatistics{2852.09, 1095.44, -6.61, 4226.94}},
    {"walker2d_full_replay-v2", 285115514, "", 1888, std::nullopt},
    {"walker2d_medium_expert-v2", 462197079, "", 2191, std::nullopt},
    {"walker2d_expert-v2", 230567195, "", 1001, ReturnStatistics{4920.51, 136.39, 763.42, 5011.69}},
};

}  // namespace

std::span<const KnownFile> KnownFiles() { return kFiles; }

const KnownFile* FindKnownFile(std::string_view name) {
  std::string wanted(name);
  // "hopper-medium-replay-v2" is hopper_medium_replay-v2.hdf5
  const size_t version = wanted.rfind("-v");
  if (version == std::string::npos) return nullptr;
  std::replace(wanted.begin(), wanted.begin() + static_cast<ptrdiff_t>(version), '-', '_');
  for (const KnownFile& file : kFiles) {
    if (wanted == file.name) return &file;
  }
  return nullptr;
}

const KnownFile* FindKnownPath(const std::string& path) {
  return FindKnownFile(std::filesystem::path(path).stem().string());
}

std::string ExpectKnownFile(const std::string& path, const KnownFile& known,
                            const std::string& sha256) {
  const uint64_t bytes = std::filesystem::file_size(path);
  if (bytes != known.bytes) {
    throw FileError(path, "", std::to_string(known.bytes) + " bytes of D4RL's " + known.name,
                    std::to_string(bytes));
  }
  const std::string found = Sha256OfFile(path);
  if (!sha256.empty() && found != sha256) {
    throw FileError(path, "", "SHA-256 " + sha256 + " of D4RL's " + known.name, found);
  }
  return found;
}

const KnownFile* FindKnownHash(std::string_view sha256) {
  if (sha256.empty()) return nullptr;
  for (const KnownFile& file : kFiles) {
    if (sha256 == file.sha256) return &file;
  }
  return nullptr;
}

FileName ParseFileName(const std::string& path) {
  std::string name = std::filesystem::path(path).stem();
  std::ranges::replace(name, '_', '-');
  FileName parsed;
  for (const char* version : {"-v0", "-v1", "-v2"}) {
    if (name.ends_with(version)) parsed.version = version + 1;
  }
  // the longer names first: "medium" and "expert" are parts of others
  for (const char* kind :
       {"medium-expert", "medium-replay", "full-replay", "medium", "expert", "random"}) {
    if (name.find(std::string("-") + kind) == std::string::npos) continue;
    parsed.kind = kind;
    break;
  }
  return parsed;
}

}  // namespace cosdt::datasets
