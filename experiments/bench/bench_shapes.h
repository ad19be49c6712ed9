// cosdt bench attention at single shapes instead of over the length, on any device.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <string>
#include <vector>

namespace cosdt::experiments {

// Queries, keys and values [batch, heads, length, width].
struct AttentionShape {
  int64_t batch = 1, heads = 1, length = 1, width = 1;
};

// Shapes for a GPU: a batch of training, and lengths up to 64k.
const std::vector<AttentionShape>& GpuShapes();

// "8x8x1024x64": batch, heads, length, width of a head. Throws std::invalid_argument.
AttentionShape ParseShape(const std::string& text);

// cosFormer's operator, forward, backward and both in float32 and bfloat16, against LibTorch's
// scaled_dot_product_attention: times without launch costs (timed_launches.h) over sets of inputs
// that exceed the cache; bytes per second, counting each input and output once, as a share of a
// copy's on the device; arithmetic as a share of a matrix product's. Prints a table or JSON.
void BenchShapes(const std::vector<AttentionShape>& shapes, const c10::Device& device, int repeats,
                 bool json);

}  // namespace cosdt::experiments
