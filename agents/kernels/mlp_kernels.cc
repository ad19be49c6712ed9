// Compiles the kernels for every instruction set and chooses one at run time.
#include "agents/kernels/mlp_kernels.h"

// the sets that gemm.cc leaves out, for the same reasons
#define HWY_DISABLED_TARGETS \
  (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "agents/kernels/mlp_kernels.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include <hwy/contrib/math/math-inl.h>

#include "agents/kernels/gemm_tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cosdt::agents::kernels::HWY_NAMESPACE {

void MultiplyRows(Rows from, int64_t rows, const float* w, int64_t inputs, int64_t outputs,
                  const float* bias, Epilogue epilogue, Rows to) {
  const auto zero = hn::Zero(kTag);
  ForTiles(rows, outputs, [&](int64_t row, auto count, int64_t column, auto panels) HWY_ATTR {
    Tile<count, panels> tile;
    if (bias) {
      tile.Start(bias + column, 0);
    } else {
      tile.Clear();
    }
    tile.MulAdd(from.data + row * from.stride, from.stride, w + column, outputs, kPanel, inputs);
    float* const at = to.data + row * to.stride + column;
    if (epilogue == Epilogue::kRelu) {  // not the maximum, which would lose a NaN
      tile.Store(at, to.stride, [&](auto y, size_t, const float*) HWY_ATTR {
        return hn::IfThenElse(hn::Lt(y, zero), zero, y);
      });
    } else if (epilogue == Epilogue::kReluGradient) {
      tile.Store(at, to.stride, [&](auto y, size_t, const float* value) HWY_ATTR {
        return hn::IfThenElse(hn::Le(hn::LoadU(kTag, value), zero), zero, y);
      });
    } else {
      tile.Store(at, to.stride, [](auto y, size_t, const float*) HWY_ATTR { return y; });
    }
  });
}

// Blocks of 4 x 4.
void Transpose(const float* from, int64_t rows, int64_t columns, float* to) {
  constexpr int64_t kBlock = 4;
#if HWY_TARGET == HWY_SCALAR
  const auto block = [&](const float* in, float* out) {
    for (int64_t i = 0; i < kBlock * kBlock; ++i) {
      out[i / kBlock * rows + i % kBlock] = in[i % kBlock * columns + i / kBlock];
    }
  };
#else
  const hn::FixedTag<float, kBlock> four;
  const hn::Repartition<uint64_t, decltype(four)> two;
  const auto block = [&](const float* in, float* out) HWY_ATTR {
    const auto row = [&](int64_t i) HWY_ATTR { return hn::LoadU(four, in + i * columns); };
    const auto store = [&](auto v, int64_t i)
                           HWY_ATTR { hn::StoreU(hn::BitCast(four, v), four, out + i * rows); };
    const auto low_a = hn::BitCast(two, hn::InterleaveLower(four, row(0), row(1)));
    const auto low_b = hn::BitCast(two, hn::InterleaveLower(four, row(2), row(3)));
    const auto high_a = hn::BitCast(two, hn::InterleaveUpper(four, row(0), row(1)));
    const auto high_b = hn::BitCast(two, hn::InterleaveUpper(four, row(2), row(3)));
    store(hn::InterleaveLower(two, low_a, low_b), 0);
    store(hn::InterleaveUpper(two, low_a, low_b), 1);
    store(hn::InterleaveLower(two, high_a, high_b), 2);
    store(hn::InterleaveUpper(two, high_a, high_b), 3);
  };
#endif
  for (int64_t first = 0; first < columns; first += kPanel) {
    for (int64_t row = 0; row < rows; row += kBlock) {
      for (int64_t column = first; column < first + kPanel; column += kBlock) {
        block(from + row * columns + column, to + column * rows + row);
      }
    }
  }
}

// to[o] = bias[o] + the product of h and w[o] for kOutputs outputs.
template <int64_t kOutputs>
HWY_INLINE void DotProducts(const float* h, const float* w, int64_t width, const float* bias,
                            float* to) {
  hn::Vec<FloatTag> sums[kOutputs];
  for (auto& sum : sums) sum = hn::Zero(kTag);
  for (int64_t i = 0; i < width; i += kLanes) {
    const auto values = hn::LoadU(kTag, h + i);
    for (int64_t o = 0; o < kOutputs; ++o) {
      sums[o] = hn::MulAdd(values, hn::LoadU(kTag, w + o * width + i), sums[o]);
    }
  }
  for (int64_t o = 0; o < kOutputs; ++o) {
    to[o] = hn::GetLane(hn::SumOfLanes(kTag, sums[o])) + (bias ? bias[o] : 0.0f);
  }
}

void NarrowOutputs(Rows hidden, int64_t rows, const float* w, int64_t width, int64_t outputs,
                   const float* bias, Rows to) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* const h = hidden.data + row * hidden.stride;
    float* const out = to.data + row * to.stride;
    const auto bias_of = [&](int64_t o) { return bias ? bias + o : nullptr; };
    int64_t o = 0;
    for (; o + 3 <= outputs; o += 3) DotProducts<3>(h, w + o * width, width, bias_of(o), out + o);
    for (; o < outputs; ++o) DotProducts<1>(h, w + o * width, width, bias_of(o), out + o);
  }
}

void NarrowHiddenGradients(Rows gradients, int64_t rows, const float* w, int64_t width,
                           int64_t outputs, Rows hidden, Rows to) {
  const auto zero = hn::Zero(kTag);
  for (int64_t row = 0; row < rows; ++row) {
    const float* const g = gradients.data + row * gradients.stride;
    for (int64_t i = 0; i < width; i += kLanes) {
      auto sum = zero;
      for (int64_t o = 0; o < outputs; ++o) {
        sum = hn::MulAdd(hn::Set(kTag, g[o]), hn::LoadU(kTag, w + o * width + i), sum);
      }
      if (hidden.data) {
        const auto h = hn::LoadU(kTag, hidden.data + row * hidden.stride + i);
        sum = hn::IfThenElse(hn::Le(h, zero), zero, sum);
      }
      hn::StoreU(sum, kTag, to.data + row * to.stride + i);
    }
  }
}

void LayerNormRows(Rows x, int64_t rows, int64_t width, const float* scale, const float* shift,
                   Rows to, Rows statistics) {
  constexpr float kEpsilon = 1e-6f;
  const float share = 1 / static_cast<float>(width);
  for (int64_t row = 0; row < rows; ++row) {
    const float* const from = x.data + row * x.stride;
    float* const out = to.data + row * to.stride;
    auto sum = hn::Zero(kTag);
    for (int64_t i = 0; i < width; i += kLanes) sum = hn::Add(sum, hn::LoadU(kTag, from + i));
    const float mean = hn::GetLane(hn::SumOfLanes(kTag, sum)) * share;
    const auto means = hn::Set(kTag, mean);
    auto squares = hn::Zero(kTag);
    for (int64_t i = 0; i < width; i += kLanes) {
      const auto d = hn::Sub(hn::LoadU(kTag, from + i), means);
      squares = hn::MulAdd(d, d, squares);
    }
    const float variance = hn::GetLane(hn::SumOfLanes(kTag, squares)) * share;
    const float inverse_std = 1 / std::sqrt(variance + kEpsilon);
    const auto inverse = hn::Set(kTag, inverse_std);
    for (int64_t i = 0; i < width; i += kLanes) {
      const auto normal = hn::Mul(hn::Sub(hn::LoadU(kTag, from + i), means), inverse);
      hn::StoreU(hn::MulAdd(normal, hn::LoadU(kTag, scale + i), hn::LoadU(kTag, shift + i)), kTag,
                 out + i);
    }
    statistics.data[row * statistics.stride] = mean;
    statistics.data[row * statistics.stride + 1] = inverse_std;
  }
}

void LayerNormReluGradients(Rows gradients, int64_t rows, int64_t width, const LayerNormOp& op,
                            Rows to) {
  const auto zero = hn::Zero(kTag);
  const float share = 1 / static_cast<float>(width);
  for (int64_t row = 0; row < rows; ++row) {
    const float* const g = gradients.data + row * gradients.stride;
    const float* const x = op.x.data + row * op.x.stride;
    const float* const statistics = op.statistics.data + row * op.statistics.stride;
    const auto mean = hn::Set(kTag, statistics[0]), inverse = hn::Set(kTag, statistics[1]);
    const auto normal = [&](int64_t i) HWY_ATTR {
      return hn::Mul(hn::Sub(hn::LoadU(kTag, x + i), mean), inverse);
    };
    auto sum = zero, product = zero;
    for (int64_t i = 0; i < width; i += kLanes) {
      const auto n = normal(i), outer = hn::LoadU(kTag, g + i);
      const auto inner = hn::Mul(outer, hn::LoadU(kTag, op.scale + i));
      sum = hn::Add(sum, inner);
      product = hn::MulAdd(inner, n, product);
      if (!op.scale_gradients) continue;
      float* const scales = op.scale_gradients + i;
      float* const shifts = op.shift_gradients + i;
      hn::StoreU(hn::MulAdd(outer, n, hn::LoadU(kTag, scales)), kTag, scales);
      hn::StoreU(hn::Add(outer, hn::LoadU(kTag, shifts)), kTag, shifts);
    }
    const auto mean_of = [&](auto v) HWY_ATTR {
      return hn::Set(kTag, hn::GetLane(hn::SumOfLanes(kTag, v)) * share);
    };
    const auto mean_sum = mean_of(sum), mean_product = mean_of(product);
    for (int64_t i = 0; i < width; i += kLanes) {
      const auto inner = hn::Mul(hn::LoadU(kTag, g + i), hn::LoadU(kTag, op.scale + i));
      const auto centred = hn::NegMulAdd(normal(i), mean_product, hn::Sub(inner, mean_sum));
      const auto value = hn::Mul(centred, inverse);
      const auto positive = hn::Gt(hn::LoadU(kTag, x + i), zero);
      hn::StoreU(hn::IfThenElseZero(positive, value), kTag, to.data + row * to.stride + i);
    }
  }
}

void AdamStep(int64_t n, const float* gradients, int64_t step, double lr, const AdamState& state,
              float* followers, float tau) {
  constexpr double kBeta1 = 0.9, kBeta2 = 0.999;
  constexpr float kEpsilon = 1e-8f;
  const auto t = static_cast<double>(step);
  const auto rate = static_cast<float>(-lr / (1 - std::pow(kBeta1, t)));
  const auto root_correction = static_cast<float>(1 / std::sqrt(1 - std::pow(kBeta2, t)));
  const auto update = [&](auto d, int64_t i) HWY_ATTR {
    const auto constant = [&](double x) HWY_ATTR { return hn::Set(d, static_cast<float>(x)); };
    const auto g = hn::LoadU(d, gradients + i);
    auto first = hn::LoadU(d, state.first_moment + i);
    first = hn::MulAdd(hn::Sub(g, first), constant(1 - kBeta1), first);
    hn::StoreU(first, d, state.first_moment + i);
    const auto decayed = hn::Mul(hn::LoadU(d, state.second_moment + i), constant(kBeta2));
    const auto second = hn::MulAdd(hn::Mul(g, g), constant(1 - kBeta2), decayed);
    hn::StoreU(second, d, state.second_moment + i);
    const auto root =
        hn::MulAdd(hn::Sqrt(second), hn::Set(d, root_correction), hn::Set(d, kEpsilon));
    const auto moved =
        hn::MulAdd(hn::Div(first, root), hn::Set(d, rate), hn::LoadU(d, state.parameters + i));
    hn::StoreU(moved, d, state.parameters + i);
    if (!followers) return;
    const auto slow = hn::LoadU(d, followers + i);
    hn::StoreU(hn::MulAdd(hn::Sub(moved, slow), hn::Set(d, tau), slow), d, followers + i);
  };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) update(kTag, i);
  for (; i < n; ++i) update(hn::CappedTag<float, 1>(), i);
}

void SampleTanhGaussian(int64_t n, const TanhGaussian& samples) {
  const auto constant = [](double x) HWY_ATTR { return hn::Set(kTag, static_cast<float>(x)); };
  const auto low = constant(kMinLogStd), high = constant(kMaxLogStd);
  for (int64_t i = 0; i < n; i += kLanes) {
    auto log_std = hn::LoadU(kTag, samples.log_std + i);
    log_std = hn::IfThenElse(hn::Lt(log_std, low), low, log_std);  // keeps a NaN
    log_std = hn::IfThenElse(hn::Gt(log_std, high), high, log_std);
    const auto std = hn::Exp(kTag, log_std);
    const auto noise = hn::LoadU(kTag, samples.noise + i);
    const auto u = hn::MulAdd(std, noise, hn::LoadU(kTag, samples.mean + i));
    // log N(u) - log(1 - tanh(u)^2), the latter as 2 (log 2 - |u| - log(1 + exp(-2 |u|)))
    const auto size = hn::Abs(u);
    const auto tail = hn::Log1p(kTag, hn::Exp(kTag, hn::Mul(size, constant(-2))));
    auto log_prob = hn::Sub(hn::Mul(hn::Add(size, tail), constant(2)), log_std);
    log_prob = hn::NegMulAdd(hn::Mul(noise, noise), constant(0.5), log_prob);
    log_prob =
        hn::Sub(log_prob, constant(0.5 * std::log(2 * std::numbers::pi) + 2 * std::numbers::ln2));
    hn::StoreU(std, kTag, samples.std + i);
    hn::StoreU(hn::Tanh(kTag, u), kTag, samples.action + i);
    hn::StoreU(log_prob, kTag, samples.log_prob + i);
  }
}

}  // namespace cosdt::agents::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cosdt::agents::kernels {

HWY_EXPORT(MultiplyRows);
HWY_EXPORT(Transpose);
HWY_EXPORT(NarrowOutputs);
HWY_EXPORT(NarrowHiddenGradients);
HWY_EXPORT(LayerNormRows);
HWY_EXPORT(LayerNormReluGradients);
HWY_EXPORT(AdamStep);
HWY_EXPORT(SampleTanhGaussian);

void MultiplyRows(Rows from, int64_t rows, const float* w, int64_t inputs, int64_t outputs,
                  const float* bias, Epilogue epilogue, Rows to) {
  HWY_DYNAMIC_DISPATCH(MultiplyRows)(from, rows, w, inputs, outputs, bias, epilogue, to);
}

void Transpose(const float* from, int64_t rows, int64_t columns, float* to) {
  HWY_DYNAMIC_DISPATCH(Transpose)(from, rows, columns, to);
}

void NarrowOutputs(Rows hidden, int64_t rows, const float* w, int64_t width, int64_t outputs,
                   const float* bias, Rows to) {
  HWY_DYNAMIC_DISPATCH(NarrowOutputs)(hidden, rows, w, width, outputs, bias, to);
}

void NarrowHiddenGradients(Rows gradients, int64_t rows, const float* w, int64_t width,
                           int64_t outputs, Rows hidden, Rows to) {
  HWY_DYNAMIC_DISPATCH(NarrowHiddenGradients)
  (gradients, rows, w, width, outputs, hidden, to);
}

void LayerNormRows(Rows x, int64_t rows, int64_t width, const float* scale, const float* shift,
                   Rows to, Rows statistics) {
  HWY_DYNAMIC_DISPATCH(LayerNormRows)(x, rows, width, scale, shift, to, statistics);
}

void LayerNormReluGradients(Rows gradients, int64_t rows, int64_t width, const LayerNormOp& op,
                            Rows to) {
  HWY_DYNAMIC_DISPATCH(LayerNormReluGradients)(gradients, rows, width, op, to);
}

void AdamStep(int64_t n, const float* gradients, int64_t step, double lr, const AdamState& state,
              float* followers, float tau) {
  HWY_DYNAMIC_DISPATCH(AdamStep)(n, gradients, step, lr, state, followers, tau);
}

void SampleTanhGaussian(int64_t n, const TanhGaussian& samples) {
  HWY_DYNAMIC_DISPATCH(SampleTanhGaussian)(n, samples);
}

}  // namespace cosdt::agents::kernels
#endif
