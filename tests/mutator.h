// Damages files, the same way for the same seed.
#pragma once

#include <cstdint>
#include <iterator>
#include <random>
#include <string>
#include <vector>

namespace cosdt {

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : rng_(seed) {}

  // Below n, at least 1.
  size_t Below(size_t n) { return static_cast<size_t>(rng_() % n); }

  // Any file: one to four times a bit flipped, a byte set, or some bytes cut, put in or repeated.
  std::string Bytes(std::string bytes) {
    for (size_t changes = 1 + Below(4); changes > 0; --changes) {
      if (bytes.empty()) return bytes;
      const size_t at = Below(bytes.size()), length = 1 + Below(24);
      switch (Below(6)) {
        case 0:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << Below(8)));
          break;
        case 1:
          bytes[at] = static_cast<char>(rng_());
          break;
        case 2:
          bytes.erase(at, length);
          break;
        case 3:
          bytes.insert(at, RandomBytes(length));
          break;
        case 4:
          bytes.insert(at, bytes.substr(Below(bytes.size()), length));
          break;
        default:
          bytes.resize(Below(4) == 0 ? at : bytes.size());
      }
    }
    return bytes;
  }

  // JSON and TOML: one to three times another number, string or value, or a line lost or repeated;
  // now and then other bytes as well.
  std::string Text(std::string text) {
    for (size_t changes = 1 + Below(3); changes > 0; --changes) {
      switch (Below(4)) {
        case 0:
          Replace(text, kDigits,
                  Pick({"0", "1", "-1", "7", "255", "1e9", "1e308", "1e999", "0.5", "2147483648",
                        "4294967296", "9223372036854775807", "9223372036854775808",
                        "18446744073709551615", "1000000000000", "99999999999999999999", "nan",
                        "inf"}));
          break;
        case 1:
          Replace(text, kWord,
                  Pick({"", "x", "null", "true", "\\n", "\\u0000", "\xff", "\u00e9", "cosformer",
                        "performer", "bc", "dt", "1"}));
          break;
        case 2:
          Replace(
              text, kValue,
              Pick({"null", "[]", "{}", "\"\"", "true", "false", "\"x\"", "-0.0", "[1, 2, 3]",
                    "{\"a\": 1}", std::string(5000, '['), "\"" + std::string(5000, 'x') + "\""}));
          break;
        default:
          Line(text);
      }
    }
    return Below(4) == 0 ? Bytes(std::move(text)) : text;
  }

 private:
  static constexpr const char* kDigits = "0123456789";
  static constexpr const char* kWord =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-0123456789";
  static constexpr const char* kValue =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-0123456789.\"'";

  std::string RandomBytes(size_t length) {
    std::string bytes(length, '\0');
    for (char& c : bytes) c = static_cast<char>(rng_());
    return bytes;
  }

  std::string Pick(const std::vector<std::string>& list) { return list[Below(list.size())]; }

  // The first run of such characters at or after a random place.
  void Replace(std::string& text, const char* characters, const std::string& by) {
    if (text.empty()) return;
    const size_t begin = text.find_first_of(characters, Below(text.size()));
    if (begin == std::string::npos) return;
    const size_t end = text.find_first_not_of(characters, begin);
    text.replace(begin, (end == std::string::npos ? text.size() : end) - begin, by);
  }

  void Line(std::string& text) {
    if (text.empty()) return;
    const size_t begin = text.rfind('\n', Below(text.size())) + 1;  // 0 if there is none
    const size_t end = text.find('\n', begin);
    const std::string line = text.substr(begin, end == std::string::npos ? end : end + 1 - begin);
    if (Below(2) == 0) {
      text.erase(begin, line.size());
    } else {
      text.insert(begin, line);
    }
  }

  std::mt19937_64 rng_;
};

}  // namespace cosdt
