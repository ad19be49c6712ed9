#include "datasets/sha256.h"

#include <openssl/evp.h>

#include <fstream>
#include <stdexcept>
#include <vector>

#include "datasets/file_error.h"
#include "datasets/file_kind.h"

namespace cosdt::datasets {
namespace {

void Expect(int done) {
  if (done != 1) throw std::runtime_error("OpenSSL cannot compute SHA-256");
}

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
  if (!context_) throw std::bad_alloc();
  Expect(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr));
}

void Sha256::Add(std::span<const char> bytes) {
  Expect(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()));
}

std::string Sha256::Finish() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  Expect(EVP_DigestFinal_ex(context_.get(), digest, &size));
  std::string text;
  for (unsigned i = 0; i < size; ++i) {
    text += "0123456789abcdef"[digest[i] >> 4];
    text += "0123456789abcdef"[digest[i] & 15];
  }
  return text;
}

std::string Sha256OfFile(const std::string& path) {
  if (const std::string why = WhyNoFile(path); !why.empty()) {
    throw FileError(path, "", "a readable file", why);
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) throw FileError(path, "", "a readable file", "none");
  Sha256 sha;
  std::vector<char> block(1 << 16);
  while (file.read(block.data(), static_cast<std::streamsize>(block.size())), file.gcount() > 0) {
    sha.Add(std::span(block).first(static_cast<size_t>(file.gcount())));
  }
  if (file.bad()) throw FileError(path, "", "a readable file", "a read error");
  return sha.Finish();
}

}  // namespace cosdt::datasets
