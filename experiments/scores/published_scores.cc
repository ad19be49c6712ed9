#include "experiments/scores/published_scores.h"

namespace cosdt::experiments {

std::span<const PublishedScores> AllPublishedScores() {
  static constexpr PublishedScores kRows[] = {
      {"DT (Chen et al. 2021)", {42.6, 67.6, 36.6, 82.7, 86.8, 107.6}, 70.7},
      {"DT (CORL, last checkpoint)", {42.2, 65.1, 38.9, 81.8, 91.6, 110.4}, 71.7},
      {"DT (Flowformer's table)", {42.4, 64.2, 34.6, 79.7, 83.8, 104.0}, 68.1},
      {"cosFormer (Flowformer's table)", {42.1, 59.8, 32.8, 59.3, 85.5, 98.1}, 62.9},
      {"linear Transformer (Flowformer's table)", {42.3, 58.7, 32.1, 74.3, 78.2, 107.2}, 65.5},
      {"Performer (Flowformer's table)", {42.1, 59.7, 31.7, 64.6, 85.1, 93.5}, 62.8},
      {"Reformer (Flowformer's table)", {42.2, 59.9, 33.6, 66.1, 81.5, 104.2}, 64.6},
      {"Flowformer (Flowformer's table)", {42.2, 66.9, 34.7, 75.5, 90.8, 109.9}, 70.0},
      {"10% BC (CORL)", {42.5, 55.5, 23.6, 70.4, 90.1, 111.2}, 65.5},
      {"Decision ConvFormer", {43.0, 92.5, 41.1, 87.8, 93.1, 110.1}, 77.9},
      {"IQL (CORL)", {48.3, 67.5, 44.5, 97.4, 94.7, 107.4}, 76.6},
      {"QT", {51.4, 96.9, 48.9, 102.0, 96.1, 113.4}, 84.8},
      {"ReBRAC (CORL)", {64.0, 102.3, 51.2, 95.0, 103.8, 109.5}, 87.6},
  };
  return kRows;
}

}  // namespace cosdt::experiments
