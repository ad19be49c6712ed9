#include "experiments/report/fill_template.h"

#include <kainjow/mustache.hpp>
#include <stdexcept>

#include "experiments/program/utf8.h"

namespace cosdt::experiments {
namespace {

namespace mustache = kainjow::mustache;
using nlohmann::json;

mustache::data ToMustache(const json& value) {
  switch (value.type()) {
    case json::value_t::object: {
      mustache::data object(mustache::data::type::object);
      for (const auto& [name, member] : value.items()) object.set(name, ToMustache(member));
      return object;
    }
    case json::value_t::array: {
      mustache::data list(mustache::data::type::list);
      for (const json& element : value) list.push_back(ToMustache(element));
      return list;
    }
    case json::value_t::string:
      return value.get<std::string>();
    case json::value_t::null:
      return false;
    case json::value_t::boolean:
      return value.get<bool>();
    default:
      return value.dump();
  }
}

}  // namespace

std::string FillTemplate(const std::string& text, const json& values) {
  mustache::mustache page(text);
  const std::string filled = page.render(ToMustache(json::parse(DumpJson(values))));
  if (!page.is_valid()) throw std::runtime_error("template: " + page.error_message());
  return filled;
}

}  // namespace cosdt::experiments
