#pragma once

#include <cstdint>
#include <random>

#include "envs/env.h"

namespace cosdt::envs {

// The random values of an environment of gym 0.21 or older after env.seed(seed), which its
// reset_model draws initial states from. gym/utils/seeding.py: the first eight bytes of the SHA-512
// of the seed in decimal digits are the key of a numpy.random.RandomState, which is a Mersenne
// twister initialised by an array (Matsumoto and Nishimura 2002, mt19937ar.c) with NumPy's 53-bit
// uniform values and Marsaglia's polar Gaussians.
class GymNoise : public InitialNoise {
 public:
  explicit GymNoise(uint64_t seed);
  double Uniform(double low, double high) override;  // RandomState.uniform
  double Normal() override;                          // RandomState.randn

 private:
  double Fraction();  // RandomState.random_sample

  std::mt19937 twister_;
  bool has_next_ = false;  // Gaussians come in pairs, also across resets
  double next_ = 0;
};

}  // namespace cosdt::envs
