// Times one attention case.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>

#include "attention/attention.h"
#include "attention/cases.h"

namespace cosdt::experiments {

// Units per second of the fastest run of `work`, which does `units`, repeated for `seconds`: what a
// busy machine takes away between two runs, or during one, is not the code's.
double BestRate(double seconds, double units, const std::function<void()>& work);

// A case with random inputs, run forward or forward and backward.
class AttentionRunner {
 public:
  explicit AttentionRunner(const attention::Case& c);

  // Tokens x heads per second.
  double Rate(bool backward);

  // The peak of bytes allocated besides inputs and results.
  int64_t ExtraMemory(bool backward);

  const torch::Tensor& q() const { return q_; }
  const torch::Tensor& k() const { return k_; }
  const torch::Tensor& v() const { return v_; }

 private:
  void Forward();
  void ForwardBackward();

  attention::Case case_;
  attention::Attention attention_;
  torch::Tensor q_, k_, v_, grad_;
};

}  // namespace cosdt::experiments
