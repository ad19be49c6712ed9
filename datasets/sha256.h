#pragma once

#include <memory>
#include <span>
#include <string>

typedef struct evp_md_ctx_st EVP_MD_CTX;

namespace cosdt::datasets {

// SHA-256 of bytes that come piece by piece.
class Sha256 {
 public:
  Sha256();
  void Add(std::span<const char> bytes);

  // 64 lower-case hex digits. Nothing can be added afterwards.
  std::string Finish();

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

// The SHA-256 of a file. Throws FileError if it cannot be read.
std::string Sha256OfFile(const std::string& path);

}  // namespace cosdt::datasets
