// Examples of the table of cases, and how a kind is held against the naive reference on any device.
#pragma once

#include <functional>
#include <vector>

#include "attention/cases.h"

namespace cosdt::attention {

// Inputs of a case and the gradient of its output, on the CPU.
struct Example {
  torch::Tensor q, k, v, key_mask, grad;
};

// Normal values; if `padded`, padding stands in front of each row and in a hole, and outputs there
// get no gradient. Keys have the queries' length if key_length is 0.
Example MakeExample(const Case& c, torch::ScalarType type, bool padded, int64_t key_length = 0);

// Output and gradients of q, k, v, as a function computes them in a type and on a device.
std::vector<torch::Tensor> Differentiate(
    const Example& e, torch::ScalarType type,
    const std::function<torch::Tensor(torch::Tensor, torch::Tensor, torch::Tensor)>& attend,
    const torch::Device& device = torch::kCPU);

// Outputs at real tokens; the others mean nothing.
torch::Tensor RealRows(const torch::Tensor& out, const torch::Tensor& key_mask);

// Output and gradients, to a tolerance relative to the largest element of each.
void ExpectMatchesReference(const Case& c, const Example& e, double tolerance,
                            const torch::Device& device = torch::kCPU);

// The tolerance of every kind.
double Tolerance(torch::ScalarType type);

}  // namespace cosdt::attention
