#include <cstdio>

#include "datasets/hdf5_file.h"
#include "datasets/policy_file.h"

int main() {
  try {
    cosdt::datasets::ReadPolicy(cosdt::datasets::Hdf5File("no such file"));
  } catch (const cosdt::datasets::FileError& e) {
    std::printf("%s\n", e.what());
    return 0;
  }
  return 1;
}
