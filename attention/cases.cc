#include "attention/cases.h"

namespace cosdt::attention {

std::string Case::Name() const {
  std::string name = options.kind + ", B " + std::to_string(batch) + ", H " +
                     std::to_string(heads) + ", L " + std::to_string(length) + ", d " +
                     std::to_string(width);
  if (value_width != width) name += ", d_v " + std::to_string(value_width);
  if (options.half_life > 0) {
    name += ", half-life " + std::to_string(static_cast<int64_t>(options.half_life));
  }
  return name;
}

AttentionOptions CaseOptions(const std::string& kind, int64_t length) {
  AttentionOptions options;
  options.kind = kind;
  options.reweight_length = 2 * length;
  options.window = 128;
  options.seed = 3;
  return options;
}

std::vector<Case> CheckedCases(const std::string& kind) {
  std::vector<Case> cases;
  const auto add = [&](int64_t batch, int64_t heads, int64_t length, int64_t width,
                       int64_t value_width) {
    Case c{CaseOptions(kind, length), batch, heads, length, width, value_width};
    c.options.window = 1 + length / 3;
    cases.push_back(c);
  };
  add(1, 1, 1, 1, 1);
  add(2, 3, 2, 3, 3);
  add(2, 1, 7, 100, 100);
  add(1, 2, 48, 64, 64);
  add(2, 2, 49, 16, 24);
  add(2, 1, 60, 128, 128);
  add(1, 3, 95, 3, 3);
  add(2, 1, 96, 1, 1);
  add(1, 2, 97, 16, 16);
  add(2, 2, 193, 16, 16);  // from here on cosformer works in chunks
  add(1, 1, 289, 3, 7);
  add(1, 2, 400, 64, 64);
  add(1, 1, 700, 128, 128);
  add(1, 1, 1700, 4, 4);  // in segments
  if (kind != "cosformer") return cases;
  const auto add_decaying = [&](double half_life, int64_t heads, int64_t length, int64_t width) {
    add(2, heads, length, width, width);
    cases.back().options.half_life = half_life;
  };
  add_decaying(4, 3, 60, 32);
  add_decaying(0.5, 2, 193, 16);
  add_decaying(300, 1, 289, 3);
  add_decaying(40, 2, 700, 64);
  add_decaying(90, 1, 1700, 4);
  return cases;
}

std::vector<Case> MeasuredCases(const std::string& kind, const std::vector<int64_t>& lengths,
                                int64_t width) {
  std::vector<Case> cases;
  for (const int64_t length : lengths) {
    cases.push_back({CaseOptions(kind, length), 1, 1, length, width, width});
  }
  return cases;
}

}  // namespace cosdt::attention
