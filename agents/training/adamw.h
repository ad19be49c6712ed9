// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2) as PyTorch computes it, on all
// parameters of a module as one flat array: one operation per update instead of one per parameter.
#pragma once

#include <torch/torch.h>

#include <string>

#include "agents/storage/safetensors.h"

namespace cosdt::agents {

class AdamW {
 public:
  static constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8;

  // Moves the module's parameters, all float32 on one device, and their gradients into two flat
  // arrays, of which they become views: the module must not be moved to another device. All
  // parameters decay. The module must outlive this object.
  AdamW(torch::nn::Module& module, double weight_decay);

  // Sets all gradients to 0; they are defined from the beginning.
  void ZeroGradients();

  // The Euclidean norm of all gradients together, [].
  torch::Tensor GradientNorm() const;

  // One update with the gradients multiplied by `gradient_scale`, which changes them.
  void Step(double learning_rate, double gradient_scale = 1);

  // The host's values for an update on a device, for the step after `ahead` others.
  struct Scalars {
    double decay, root_correction, rate;
  };
  Scalars NextScalars(double learning_rate, int64_t ahead = 0) const;
  void CountSteps(int64_t steps) { steps_ += steps; }

  int64_t steps() const { return steps_; }

  // The arrays, of equal size, a multiple of 16. A parameter has the same place in each of them,
  // its storage offset.
  const torch::Tensor& parameters() const { return parameters_; }
  const torch::Tensor& gradients() const { return gradients_; }

  // The gradients and BatchShare::kNotes values: what several processes sum in one message.
  const torch::Tensor& message() const { return message_; }
  const torch::Tensor& first() const { return first_; }
  const torch::Tensor& second() const { return second_; }

  // The moments as adamw.first and adamw.second; Load throws FileError if they do not fit.
  void Save(Safetensors& file) const;
  void Load(const std::string& path, const Safetensors& file, int64_t steps);

 private:
  double weight_decay_;
  int64_t steps_ = 0;
  torch::Tensor parameters_, message_, gradients_, first_, second_;  // flat
};

}  // namespace cosdt::agents
