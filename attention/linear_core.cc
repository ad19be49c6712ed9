#include "attention/linear_core.h"

#include <cmath>
#include <numbers>

#include "attention/linear_op.h"

namespace cosdt::attention {
namespace {

// The composed form's limits: up to the first one a product of all tokens takes less memory and
// fewer operations than chunks with a state between them.
constexpr int64_t kQuadratic = 512, kChunk = 256;

void CheckLength(const char* name, int64_t length, const LinearForm& form) {
  TORCH_CHECK_VALUE(form.reweight_length == 0 || length <= form.reweight_length,
                    "attention: ", name,
                    " must not be longer than reweight_length = ", form.reweight_length,
                    ", found length ", length);
}

// cos and sin of pi/2 position / M, [n, 1] each, for the positions [0, n).
std::pair<torch::Tensor, torch::Tensor> Phases(int64_t n, const LinearForm& form,
                                               const torch::TensorOptions& type) {
  const torch::Tensor angle = torch::arange(n, type.dtype(torch::kFloat64)).unsqueeze(-1) *
                              (std::numbers::pi / 2 / static_cast<double>(form.reweight_length));
  return {angle.cos().to(type), angle.sin().to(type)};
}

// Features in the sums' type with padding cleared; v gets a column of ones for the normaliser.
void MapFeatures(Inputs& inputs, const LinearForm& form) {
  const torch::ScalarType type = SumTypeOf(inputs.q.scalar_type());
  inputs.q = ApplyFeatureMap(inputs.q.to(type), form.features);
  inputs.k = ApplyFeatureMap(inputs.k.to(type), form.features);
  inputs.v = inputs.v.to(type);
  inputs.ClearPadding();
  if (form.normalize) {
    inputs.v = torch::cat({inputs.v, torch::ones_like(inputs.v.narrow(-1, 0, 1))}, -1);
  }
}

// x, or x at both phases side by side
torch::Tensor AtPhases(const torch::Tensor& x, const LinearForm& form) {
  if (form.reweight_length == 0) return x;
  const auto [cosine, sine] = Phases(x.size(-2), form, x.options());
  return torch::cat({x * cosine, x * sine}, -1);
}

// The heads' decays of head 0, 1, .. to the powers `exponents` [..], [H, ..].
torch::Tensor Decays(const torch::Tensor& exponents, int64_t heads, const LinearForm& form) {
  std::vector<torch::Tensor> of_head;
  for (int64_t head = 0; head < heads; ++head) {
    of_head.push_back(torch::pow(DecayOf(form.half_life, head), exponents.to(torch::kFloat64)));
  }
  return torch::stack(of_head);
}

// The sums over the chunks before each one, of what each adds [B, H, chunks, .., ..].
torch::Tensor SumsBefore(const torch::Tensor& added, int64_t chunk, const LinearForm& form) {
  const int64_t n = added.size(2);
  if (form.half_life == 0) {
    return torch::cat(
        {torch::zeros_like(added.narrow(2, 0, 1)), added.narrow(2, 0, n - 1).cumsum(2)}, 2);
  }
  const torch::Tensor index = torch::arange(n, added.options());
  const torch::Tensor chunks_between = index.unsqueeze(-1) - index - 1;
  const torch::Tensor decays =
      Decays(chunk * chunks_between.clamp_min(0), added.size(1), form).to(added).tril(-1);
  return torch::einsum("hnm,bhmxy->bhnxy", {decays, added});
}

// Divides by the normaliser, which is the last column.
torch::Tensor Normalize(const torch::Tensor& sums, const LinearForm& form, torch::ScalarType type) {
  if (!form.normalize) return sums.to(type);
  const int64_t width = sums.size(-1) - 1;
  return (sums.narrow(-1, 0, width) / sums.narrow(-1, width, 1).clamp_min(form.eps)).to(type);
}

}  // namespace

torch::Tensor ApplyFeatureMap(const torch::Tensor& x, FeatureMap features) {
  switch (features) {
    case FeatureMap::kRelu:
      return torch::relu(x);
    case FeatureMap::kEluPlusOne:
      return torch::elu(x) + 1;
    case FeatureMap::kIdentity:
      break;
  }
  return x;
}

torch::Tensor CausalLinear(const Inputs& inputs, const LinearForm& form) {
  CheckLength("q", inputs.q.size(2), form);
  return HasCausalLinearKernel(inputs.q, inputs.v.size(3), form)
             ? FusedCausalLinear(inputs, form)
             : CausalLinearComposed(inputs, form);
}

torch::Tensor CausalLinearComposed(Inputs inputs, const LinearForm& form) {
  CheckLength("q", inputs.q.size(2), form);
  const torch::ScalarType type = inputs.q.scalar_type();
  MapFeatures(inputs, form);
  const int64_t length = inputs.q.size(2);
  const int64_t chunk = length <= kQuadratic ? length : kChunk;
  const int64_t padding = (chunk - length % chunk) % chunk;
  const auto chunks = [&](const torch::Tensor& x) {
    return torch::constant_pad_nd(x, {0, 0, 0, padding}).unflatten(2, {-1, chunk});
  };
  const torch::Tensor v = chunks(inputs.v);
  torch::Tensor weights =
      torch::matmul(chunks(inputs.q), chunks(inputs.k).transpose(-1, -2)).tril();
  if (form.reweight_length > 0) {
    const auto [cosine, sine] = Phases(chunk, form, inputs.q.options());
    weights = weights * (cosine * cosine.t() + sine * sine.t());
  }
  const int64_t heads = inputs.q.size(1);
  const torch::Tensor position = torch::arange(chunk, inputs.q.options());  // in a chunk
  // of a chunk's token from its chunk's begin and to the next chunk's, [H, 1, chunk, 1]
  torch::Tensor from_begin, to_end;
  if (form.half_life > 0) {
    const auto decays = [&](const torch::Tensor& exponents) {
      return Decays(exponents, heads, form).to(inputs.q).unsqueeze(1);
    };
    weights = weights * decays((position.unsqueeze(-1) - position).clamp_min(0));
    from_begin = decays(position.unsqueeze(-1));
    to_end = decays(chunk - position.unsqueeze(-1));
  }
  torch::Tensor sums = torch::matmul(weights, v);
  if (length > chunk) {
    // the state before each chunk: the sum over those before it, and 0 before the first
    torch::Tensor q = chunks(AtPhases(inputs.q, form)), k = chunks(AtPhases(inputs.k, form));
    if (form.half_life > 0) {
      q = q * from_begin;
      k = k * to_end;
    }
    const torch::Tensor added = torch::matmul(k.transpose(-1, -2), v);
    sums = sums + torch::matmul(q, SumsBefore(added, chunk, form));
  }
  return Normalize(sums.flatten(2, 3).narrow(2, 0, length), form, type);
}

torch::Tensor FullLinear(Inputs inputs, const LinearForm& form) {
  CheckLength("q", inputs.q.size(2), form);
  CheckLength("k", inputs.k.size(2), form);
  const torch::ScalarType type = inputs.q.scalar_type();
  MapFeatures(inputs, form);
  const torch::Tensor state = torch::matmul(AtPhases(inputs.k, form).transpose(-1, -2), inputs.v);
  return Normalize(torch::matmul(AtPhases(inputs.q, form), state), form, type);
}

LinearState::LinearState(const Shape& shape, const LinearForm& form)
    : LinearState(shape, form, shape.width) {}

LinearState::LinearState(const Shape& shape, const LinearForm& form, int64_t feature_width)
    : AttentionState(shape), form_(form) {
  const int64_t rows = shape.batch * shape.heads;
  const int64_t width = feature_width * (form.reweight_length > 0 ? 2 : 1);
  sums_ = torch::zeros({rows, width, shape.value_width}, SumType());
  normalizers_ = torch::zeros({rows, width}, SumType());
  if (form.half_life > 0) {
    decays_ = Decays(torch::ones({1}), shape.heads, form).to(sums_).repeat({shape.batch, 1});
  }
}

torch::Tensor LinearState::DoStep(const torch::Tensor& q, const torch::Tensor& k,
                                  const torch::Tensor& v) {
  const int64_t heads = shape().heads;
  const torch::ScalarType type = sums_.scalar_type();
  torch::Tensor q_features = ApplyFeatureMap(q.to(type), form_.features).flatten(0, 1);
  torch::Tensor k_features = ApplyFeatureMap(k.to(type), form_.features).flatten(0, 1);
  if (form_.reweight_length > 0) {
    TORCH_CHECK_VALUE(length_ < form_.reweight_length || form_.half_life > 0,
                      "attention: a state must not hold more tokens than reweight_length = ",
                      form_.reweight_length);
    const double angle = std::numbers::pi / 2 * static_cast<double>(length_) /
                         static_cast<double>(form_.reweight_length);
    const torch::Tensor phases = torch::tensor({std::cos(angle), std::sin(angle)}, torch::kFloat64)
                                     .to(sums_.options())
                                     .unsqueeze(-1);
    q_features = (q_features.unsqueeze(1) * phases).flatten(1);
    k_features = (k_features.unsqueeze(1) * phases).flatten(1);
  }
  ++length_;
  if (decays_.defined()) {
    sums_ *= decays_.unsqueeze(-1);
    normalizers_ *= decays_;
  }
  sums_.baddbmm_(k_features.unsqueeze(-1), v.to(type).flatten(0, 1).unsqueeze(1));
  torch::Tensor output = torch::bmm(q_features.unsqueeze(1), sums_).squeeze(1);
  if (form_.normalize) {
    normalizers_ += k_features;
    output /= (q_features * normalizers_).sum(-1, true).clamp_min_(form_.eps);
  }
  return output.unflatten(0, {-1, heads}).to(q.scalar_type());
}

int64_t LinearState::bytes() const {
  return static_cast<int64_t>(sums_.nbytes() + normalizers_.nbytes());
}

}  // namespace cosdt::attention
