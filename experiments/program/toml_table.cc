#include "experiments/program/toml_table.h"

#include <algorithm>
#include <sstream>
#include <stdexcept>

namespace cosdt::experiments {
namespace {

[[noreturn]] void Fail(const std::string& source, size_t line, std::string_view found) {
  throw std::invalid_argument(source + ": line " + std::to_string(line) +
                              ": expected TOML, found: " + std::string(found));
}

// Returns the end of the string that begins at `at`, its last quote included; a string in single
// quotes ends with its line at the latest (the parser says what it lacks). If a backslash, also one
// at the end of a line, stands before a character beyond ASCII, returns that character's place.
size_t EndOfString(std::string_view text, size_t at) {
  const char quote = text[at];
  const std::string three(3, quote);
  const size_t quotes = text.substr(at, 3) == three ? 3 : 1;
  for (size_t i = at + quotes; i < text.size();) {
    if (text.substr(i, quotes) == std::string_view(three).substr(0, quotes)) {
      i += quotes;
      // one or two quotes may stand before the three that end a string
      for (int more = 0; quotes == 3 && more < 2 && text.substr(i).starts_with(quote); ++more) ++i;
      return i;
    }
    if (quotes == 1 && text[i] == '\n') return i;
    if (quote == '"' && text[i] == '\\') {
      const size_t next = std::min(text.find_first_not_of(" \t\r\n", i + 1), text.size());
      if (next < text.size() && (text[next] & 0x80) != 0) return next;
      i = next == i + 1 ? i + 2 : next;
    } else {
      ++i;
    }
  }
  return text.size();
}

// TOML has characters beyond ASCII in strings and comments alone; elsewhere toml++ 3.3 takes them
// to code that is never reached, as its authors say, and anything may happen there.
void ExpectAsciiOutsideStrings(const std::string& source, std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // a byte order mark
  for (size_t i = 0; i < text.size();) {
    if ((text[i] & 0x80) != 0) {
      const auto line = 1 + std::ranges::count(text.substr(0, i), '\n');
      Fail(source, static_cast<size_t>(line), "a character beyond ASCII outside of a string");
    }
    if (text[i] == '"' || text[i] == '\'') {
      i = EndOfString(text, i);
    } else if (text[i] == '#') {
      i = std::min(text.find('\n', i), text.size());
    } else {
      ++i;
    }
  }
}

// No option has a use for it, and it would end file names and messages.
void ExpectNoNul(const std::string& source, const toml::node& node, std::string_view key = "") {
  const auto* const text = node.as_string();
  if (key.find('\0') != key.npos || (text && text->get().find('\0') != std::string::npos)) {
    Fail(source, node.source().begin.line, "a string with the character U+0000");
  }
  if (const toml::array* const array = node.as_array()) {
    for (const toml::node& element : *array) ExpectNoNul(source, element);
  } else if (const toml::table* const table = node.as_table()) {
    for (const auto& [name, value] : *table) ExpectNoNul(source, value, name.str());
  }
}

}  // namespace

toml::table ParseToml(const std::string& source, std::string_view text) {
  ExpectAsciiOutsideStrings(source, text);
  try {
    toml::table table = toml::parse(text, source);
    ExpectNoNul(source, table);
    return table;
  } catch (const toml::parse_error& e) {
    Fail(source, e.source().begin.line, e.description());
  }
}

}  // namespace cosdt::experiments
