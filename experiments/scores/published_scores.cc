#include "experiments/scores/published_scores.h"

namespace cosdt::experiments {

std::span<const PublishedScores> AllPublishedScores() {
  static constexpr PublishedScores kRows[] = {
      {"DT (Chen et al. 2021)", {{42.6, 67.6, 74.0, 36.6, 82.7, 66.6, 86.8, 107.6, 108.1}}},
      {"DT (CORL, last checkpoint)", {{42.2, 65.1, 67.6, 38.9, 81.8, 59.9, 91.6, 110.4, 107.1}}},
      {"DT (Flowformer's table)", {{42.4, 64.2, {}, 34.6, 79.7, {}, 83.8, 104.0, {}}}},
      {"cosFormer (Flowformer's table)", {{42.1, 59.8, {}, 32.8, 59.3, {}, 85.5, 98.1, {}}}},
      {"linear Transformer (Flowformer's table)",
       {{42.3, 58.7, {}, 32.1, 74.3, {}, 78.2, 107.2, {}}}},
      {"Performer (Flowformer's table)", {{42.1, 59.7, {}, 31.7, 64.6, {}, 85.1, 93.5, {}}}},
      {"Reformer (Flowformer's table)", {{42.2, 59.9, {}, 33.6, 66.1, {}, 81.5, 104.2, {}}}},
      {"Flowformer (Flowformer's table)", {{42.2, 66.9, {}, 34.7, 75.5, {}, 90.8, 109.9, {}}}},
      {"10% BC (CORL)", {{42.5, 55.5, 67.3, 23.6, 70.4, 54.4, 90.1, 111.2, 108.7}}},
      {"Decision ConvFormer", {{43.0, 92.5, {}, 41.1, 87.8, {}, 93.1, 110.1, {}}}},
      {"TD3+BC (CORL)", {{48.1, 60.4, 82.7, 44.8, 64.4, 85.6, 90.8, 101.2, 110.0}}},
      {"IQL (CORL)", {{48.3, 67.5, 80.9, 44.5, 97.4, 82.2, 94.7, 107.4, 111.7}}},
      {"QT", {{51.4, 96.9, 88.8, 48.9, 102.0, 98.5, 96.1, 113.4, 112.6}}},
      {"ReBRAC (CORL)", {{64.0, 102.3, 85.8, 51.2, 95.0, 84.3, 103.8, 109.5, 111.9}}},
  };
  return kRows;
}

}  // namespace cosdt::experiments
