#pragma once

#include <string>

namespace cosdt::experiments {

// A text as HTML shows it, also within a quoted attribute.
std::string EscapeHtml(const std::string& text);

// Bytes in base 64, for data: addresses.
std::string Base64(const std::string& bytes);

}  // namespace cosdt::experiments
