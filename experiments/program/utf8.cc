#include "experiments/program/utf8.h"

#include <cstdio>
#include <stdexcept>

namespace cosdt::experiments {

using nlohmann::json;

std::string ToUtf8(const std::string& text) {
  return json::parse(DumpJson(text)).get<std::string>();
}

void ExpectUtf8(const std::string& what, const std::string& path) {
  const std::string utf8 = ToUtf8(path);
  if (utf8 == path) return;
  throw std::invalid_argument(what + ": expected a path in UTF-8, found " + utf8);
}

std::string DumpJson(const json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

void PrintJson(const json& object) { std::printf("%s\n", DumpJson(object).c_str()); }

}  // namespace cosdt::experiments
