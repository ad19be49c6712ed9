// Checks of inputs' shapes and types, which all kinds share.
#pragma once

#include <torch/torch.h>

#include <vector>

namespace cosdt::attention {

// Inputs with their batch dimensions folded into one: q [B, H, L, d], k [B, H, L_k, d],
// v [B, H, L_k, d_v], key_mask [B, L_k] or undefined. Views if the strides allow it.
struct Inputs {
  torch::Tensor q, k, v, key_mask;
  std::vector<int64_t> output_shape;  // [.., heads, L, d_v]

  // Keys and values with zeros at padded positions. Values there, NaN included, have no influence
  // and get no gradient.
  void ClearPadding();
};

// Throws c10::Error naming the argument, what was expected and what was found: ranks, widths,
// lengths (causal needs L == L_k), empty tensors, types, devices.
Inputs CheckInputs(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                   const torch::Tensor& key_mask, bool causal);

// float32, bfloat16 or float64. Throws c10::TypeError naming the argument.
void CheckType(const char* name, torch::ScalarType type);

// One token's shape, type and device.
void CheckToken(const char* name, const torch::Tensor& token, torch::IntArrayRef shape,
                const torch::TensorOptions& type);

// float64 for float64, float32 otherwise.
torch::ScalarType SumTypeOf(torch::ScalarType type);

}  // namespace cosdt::attention
