// Made by make_rliable_golden.py.
#pragma once

#include "experiments/scores/statistics.h"

// clang-format off
namespace cosdt::experiments::golden {

struct Estimate {
  double value;
  Interval interval;
};

inline const TaskScores kX = {{-16.0, -25.0, 24.0, 23.0, 9.0, 15.0, 8.0}, {15.0, 32.0, 56.0, 58.0, 57.0, 39.0, 31.0}, {30.0, 36.0, 62.0, 40.0, 37.0, 25.0, 48.0}, {75.0, 93.0, 79.0, 89.0, 75.0, 85.0, 83.0}};
inline constexpr Estimate kXMean = {42.25, {37.25, 47.07142857142857}};
inline constexpr Estimate kXMedian = {40.42857142857143, {33.35714285714286, 47.5}};
inline constexpr Estimate kXIqm = {41.07142857142857, {34.285714285714285, 47.642857142857146}};
inline const TaskScores kY = {{-7.0, 25.0, -22.0, 28.0, 18.0}, {3.0, 14.0, 29.0, 25.0, 19.0}, {41.0, 51.0, 53.0, 65.0, 62.0}, {-10.0, 71.0, 69.0, 99.0, 80.0}};
inline constexpr Estimate kYMean = {35.65, {25.25, 44.349999999999994}};
inline constexpr Estimate kYMedian = {36.2, {21.4, 41.3}};
inline constexpr Estimate kYIqm = {35.1, {23.0, 42.7}};
inline constexpr Estimate kImprovement = {0.5321428571428571, {0.38571428571428573, 0.6714285714285715}};
inline const std::vector<ProfilePoint> kXProfile = {{-10.0, 0.9285714285714286, {0.8571428571428571, 1.0}}, {5.0, 0.9285714285714286, {0.8571428571428571, 1.0}}, {20.0, 0.7857142857142857, {0.6785714285714286, 0.8928571428571429}}, {30.0, 0.6428571428571429, {0.5357142857142857, 0.75}}, {45.5, 0.42857142857142855, {0.32142857142857145, 0.5714285714285714}}, {60.0, 0.2857142857142857, {0.25, 0.35714285714285715}}, {120.0, 0.0, {0.0, 0.0}}};

}  // namespace cosdt::experiments::golden
