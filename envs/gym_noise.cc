#include "envs/gym_noise.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

namespace cosdt::envs {
namespace {

// gym's hash_seed as the key that it gives NumPy: 32-bit words, the lowest first, no leading zeros.
std::vector<uint32_t> HashSeed(uint64_t seed) {
  const std::string digits = std::to_string(seed);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  if (EVP_Digest(digits.data(), digits.size(), digest.data(), nullptr, EVP_sha512(), nullptr) !=
      1) {
    throw std::runtime_error("OpenSSL cannot compute SHA-512");
  }
  std::vector<uint32_t> key(2);
  for (int i = 0; i < 8; ++i) key[i / 4] |= static_cast<uint32_t>(digest[i]) << 8 * (i % 4);
  if (key[1] == 0) key.pop_back();
  return key;
}

// mt19937ar.c's init_by_array in the form that the standard library takes a state in.
class ArraySeed {
 public:
  using result_type = uint32_t;

  explicit ArraySeed(std::vector<uint32_t> key) : key_(std::move(key)) {}

  template <typename Iterator>
  void generate(Iterator begin, Iterator end) const {
    const size_t n = end - begin;
    std::vector<uint32_t> mt(n);
    mt[0] = 19650218;
    for (size_t i = 1; i < n; ++i) {
      mt[i] = 1812433253u * Mixed(mt[i - 1]) + static_cast<uint32_t>(i);
    }
    size_t i = 1;
    const auto advance = [&] {
      if (++i < n) return;
      mt[0] = mt[n - 1];
      i = 1;
    };
    for (size_t k = 0; k < std::max(n, key_.size()); ++k, advance()) {
      const size_t j = k % key_.size();
      mt[i] = (mt[i] ^ 1664525u * Mixed(mt[i - 1])) + key_[j] + static_cast<uint32_t>(j);
    }
    for (size_t k = 1; k < n; ++k, advance()) {
      mt[i] = (mt[i] ^ 1566083941u * Mixed(mt[i - 1])) - static_cast<uint32_t>(i);
    }
    mt[0] = 0x80000000u;
    std::ranges::copy(mt, begin);
  }

 private:
  static uint32_t Mixed(uint32_t x) { return x ^ (x >> 30); }

  std::vector<uint32_t> key_;
};

std::mt19937 Twister(uint64_t seed) {
  ArraySeed words(HashSeed(seed));
  return std::mt19937(words);
}

}  // namespace

GymNoise::GymNoise(uint64_t seed) : twister_(Twister(seed)) {}

double GymNoise::Fraction() {
  const double high = static_cast<double>(twister_() >> 5);  // 27 bits
  const double low = static_cast<double>(twister_() >> 6);   // 26 bits
  return (high * 0x1p26 + low) / 0x1p53;
}

double GymNoise::Uniform(double low, double high) { return low + (high - low) * Fraction(); }

double GymNoise::Normal() {
  if (has_next_) {
    has_next_ = false;
    return next_;
  }
  double x, y, square;
  do {
    x = 2 * Fraction() - 1;
    y = 2 * Fraction() - 1;
    square = x * x + y * y;
  } while (square >= 1 || square == 0);
  const double scale = std::sqrt(-2 * std::log(square) / square);
  next_ = scale * x;
  has_next_ = true;
  return scale * y;
}

}  // namespace cosdt::envs
