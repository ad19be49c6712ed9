#pragma once

#include <map>
#include <regex>
#include <string>
#include <vector>

namespace cosdt::experiments {

// The first fault for which `page`, from its element `root` on, is not XML: an element that is not
// closed or closes none, a bare & or <, an id that is there twice. Empty for XML.
inline std::string XmlFault(const std::string& page, const std::string& root = "<html") {
  std::vector<std::string> open;
  std::map<std::string, int> ids;
  size_t at = page.find(root);
  if (at == std::string::npos) return "no " + root;
  while (at < page.size()) {
    if (page[at] == '&') {
      static const std::regex entity("&(amp|lt|gt|quot|apos|#[0-9]+);");
      std::smatch match;
      const std::string rest = page.substr(at, 10);
      if (!std::regex_search(rest, match, entity, std::regex_constants::match_continuous)) {
        return "& in " + page.substr(at, 40);
      }
    }
    if (page[at] != '<') {
      ++at;
      continue;
    }
    const size_t end = page.find('>', at);
    if (end == std::string::npos) return "an open tag";
    const std::string tag = page.substr(at + 1, end - at - 1);
    const std::string name = tag.substr(0, tag.find_first_of(" \t\n/", 1));
    if (tag[0] == '/') {
      if (open.empty() || open.back() != tag.substr(1)) return tag;
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(name);
    }
    static const std::regex id("\\sid=[\"']([^\"']*)");
    std::smatch match;
    if (std::regex_search(tag, match, id) && ids[match[1]]++ > 0) return "id " + match[1].str();
    at = end + 1;
  }
  return open.empty() ? "" : open.back();
}

}  // namespace cosdt::experiments
