// The table of cases that the tests check against the naive reference and that `cosdt bench
// attention` measures.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "attention/attention.h"

namespace cosdt::attention {

struct Case {
  AttentionOptions options;
  int64_t batch = 1, heads = 1, length = 1, width = 1, value_width = 1;

  // "cosformer, B 2, H 3, L 97, d 64"
  std::string Name() const;
};

// Options under which a kind is checked and measured at a length: M is twice the length, windows
// and random features have the widths that the literature compares with.
AttentionOptions CaseOptions(const std::string& kind, int64_t length);

// Shapes for checking a kind: every width class, lengths around the borders of tiles, chunks and of
// the quadratic form.
std::vector<Case> CheckedCases(const std::string& kind);

// Shapes for measuring a kind at the given lengths and width: B H = 1 head of each length.
std::vector<Case> MeasuredCases(const std::string& kind, const std::vector<int64_t>& lengths,
                                int64_t width);

}  // namespace cosdt::attention
