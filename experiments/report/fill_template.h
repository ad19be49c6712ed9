#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace cosdt::experiments {

// Fills a mustache template (https://mustache.github.io/mustache.5.html) with the values of a JSON
// object, escaped for HTML unless the template asks for {{{name}}}. Invalid UTF-8
// becomes U+FFFD. {{>name}} inserts the string of that name as a template of its own. Null and
// false are not shown; an empty string is a value. Throws std::runtime_error for a malformed
// template.
std::string FillTemplate(const std::string& text, const nlohmann::json& values);

}  // namespace cosdt::experiments
