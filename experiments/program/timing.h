#pragma once

#include <functional>

namespace cosdt::experiments {

// Calls `work`, which returns the units it did, for at least `seconds` and at least once.
// Returns units per second.
double Rate(double seconds, const std::function<long()>& work);

}  // namespace cosdt::experiments
