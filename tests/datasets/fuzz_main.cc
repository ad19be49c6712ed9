// libFuzzer's entry: cosdt_datasets_fuzz -max_total_time=60 (built with clang in the asan preset).
#include <unistd.h>

#include "tests/datasets/fuzz_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string path = "/tmp/cosdt_fuzz_" + std::to_string(getpid()) + ".hdf5";
  cosdt::datasets::FuzzFile({data, size}, path);
  unlink(path.c_str());
  return 0;
}
