#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

namespace cosdt {

// A file of the folder "shared" beside the repository: reference policies and sample datasets that
// are not part of the project. Tests that need one begin with COSDT_NEEDS_SHARED(path).
inline std::string SharedFile(const std::string& path) { return COSDT_SHARED_DIR "/" + path; }

#define COSDT_NEEDS_SHARED(path)                                               \
  if (!std::filesystem::exists(::cosdt::SharedFile(path))) {                   \
    GTEST_SKIP() << "needs " << path << " of ../shared beside the repository"; \
  }

}  // namespace cosdt
