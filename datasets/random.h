#pragma once

#include <cstdint>

namespace cosdt::datasets {

// SplitMix64 (Steele, Lea and Flood 2014): a bijection that mixes all bits of its state.
inline uint64_t SplitMix64(uint64_t state) {
  state += 0x9e3779b97f4a7c15;
  state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9;
  state = (state ^ (state >> 27)) * 0x94d049bb133111eb;
  return state ^ (state >> 31);
}

}  // namespace cosdt::datasets
