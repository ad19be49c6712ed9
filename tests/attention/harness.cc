#include "tests/attention/harness.h"

#include <gtest/gtest.h>

#include "tests/attention/reference.h"

namespace cosdt::attention {

using torch::Tensor;

Example MakeExample(const Case& c, torch::ScalarType type, bool padded, int64_t key_length) {
  torch::manual_seed(11);
  if (key_length == 0) key_length = c.length;
  const auto normal = [&](int64_t length, int64_t width) {
    return torch::randn({c.batch, c.heads, length, width}, torch::kFloat64).to(type);
  };
  Example e{normal(c.length, c.width),
            normal(key_length, c.width),
            normal(key_length, c.value_width),
            {},
            normal(c.length, c.value_width)};
  if (padded) {
    // padding in front of each row, as the training windows have it, and a hole
    e.key_mask = torch::ones({c.batch, key_length}, torch::kBool);
    for (int64_t b = 0; b < c.batch; ++b)
      e.key_mask[b].narrow(0, 0, (b + key_length / 3) % key_length).fill_(false);
    if (key_length > 5) e.key_mask.select(1, key_length - 2).fill_(false);
    if (key_length == c.length) {
      e.grad = torch::where(e.key_mask.unsqueeze(1).unsqueeze(-1), e.grad,
                            torch::zeros({}, e.grad.options()));
    }
  }
  return e;
}

std::vector<Tensor> Differentiate(const Example& e, torch::ScalarType type,
                                  const std::function<Tensor(Tensor, Tensor, Tensor)>& attend,
                                  const torch::Device& device) {
  std::vector<Tensor> inputs;
  for (const Tensor& x : {e.q, e.k, e.v}) {
    inputs.push_back(x.detach().to(device, type).clone().requires_grad_());
  }
  const Tensor out = attend(inputs[0], inputs[1], inputs[2]);
  out.backward(e.grad.to(device, type));
  std::vector<Tensor> results = {out.detach().cpu()};
  for (const Tensor& x : inputs) {
    results.push_back((x.grad().defined() ? x.grad() : torch::zeros_like(x)).cpu());
  }
  return results;
}

Tensor RealRows(const Tensor& out, const Tensor& key_mask) {
  if (!key_mask.defined() || key_mask.size(1) != out.size(2)) return out;
  return torch::where(key_mask.unsqueeze(1).unsqueeze(-1), out, torch::zeros({}, out.options()));
}

void ExpectMatchesReference(const Case& c, const Example& e, double tolerance,
                            const torch::Device& device) {
  Attention attention(c.options, c.width);
  attention->to(device);
  Tensor projection;
  if (attention->named_buffers().contains("projection")) {
    projection = attention->named_buffers()["projection"].to(torch::kFloat64);
  }
  const Tensor key_mask = e.key_mask.defined() ? e.key_mask.to(device) : e.key_mask;
  const std::vector<Tensor> found = Differentiate(
      e, e.q.scalar_type(),
      [&](const Tensor& q, const Tensor& k, const Tensor& v) {
        return attention->forward(q, k, v, key_mask);
      },
      device);
  const std::vector<Tensor> expected = Differentiate(
      e, torch::kFloat64,
      [&](const Tensor& q, const Tensor& k, const Tensor& v) {
        return Reference(q, k, v, key_mask, c.options, projection);
      },
      device);
  EXPECT_EQ(found[0].scalar_type(), e.q.scalar_type());
  const char* const names[] = {"output", "gradient of q", "gradient of k", "gradient of v"};
  for (size_t i = 0; i < found.size(); ++i) {
    const Tensor a = i == 0 ? RealRows(found[i], e.key_mask) : found[i];
    const Tensor b = i == 0 ? RealRows(expected[i], e.key_mask) : expected[i];
    EXPECT_LT(LargestError(a, b), tolerance) << c.Name() << (e.key_mask.defined() ? ", padded" : "")
                                             << ", " << e.q.dtype() << ": " << names[i];
  }
}

double Tolerance(torch::ScalarType type) {
  if (type == torch::kFloat64) return 1e-11;
  return type == torch::kFloat32 ? 2e-5 : 2e-2;
}

}  // namespace cosdt::attention
