// Compiles the kernels for every instruction set and chooses one at run time.
#include "agents/kernels/decode_kernels.h"

// the sets that the attention kernels leave out, for the same reasons
#define HWY_DISABLED_TARGETS \
  (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "agents/kernels/decode_kernels.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include <hwy/cache_control.h>
#include <hwy/contrib/math/math-inl.h>

#include "agents/kernels/gemm_tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cosdt::agents::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// n is a multiple of kPanel.
HWY_INLINE float SumVectors(const float* x, int64_t n) {
  auto sums = hn::Zero(kTag);
  for (int64_t i = 0; i < n; i += kLanes) sums = hn::Add(sums, hn::LoadU(kTag, x + i));
  return hn::GetLane(hn::SumOfLanes(kTag, sums));
}

// The same for any n.
HWY_INLINE float Dot(const float* x, const float* y, int64_t n) {
  auto sums = hn::Zero(kTag);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    sums = hn::MulAdd(hn::LoadU(kTag, x + i), hn::LoadU(kTag, y + i), sums);
  }
  float sum = hn::GetLane(hn::SumOfLanes(kTag, sums));
  for (; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

void Normalize(Rows from, int64_t rows, int64_t width, const float* gamma, const float* beta,
               float epsilon, Rows to) {
  const auto sum_of = [&](const auto& part) HWY_ATTR {
    auto sums = hn::Zero(kTag);
    for (int64_t j = 0; j < width; j += kLanes) {
      sums = hn::Add(sums,
                     hn::IfThenElseZero(hn::FirstN(kTag, static_cast<size_t>(width - j)), part(j)));
    }
    return hn::GetLane(hn::SumOfLanes(kTag, sums)) / static_cast<float>(width);
  };
  for (int64_t row = 0; row < rows; ++row) {
    const float* const x = from.data + row * from.stride;
    float* const y = to.data + row * to.stride;
    const auto mean =
        hn::Set(kTag, sum_of([&](int64_t j) HWY_ATTR { return hn::LoadU(kTag, x + j); }));
    const float variance = sum_of([&](int64_t j) HWY_ATTR {
      const auto v = hn::Sub(hn::LoadU(kTag, x + j), mean);
      return hn::Mul(v, v);
    });
    const auto inverse = hn::Set(kTag, 1 / std::sqrt(variance + epsilon));
    for (int64_t j = 0; j < Padded(width); j += kLanes) {
      const auto v = hn::Mul(hn::Sub(hn::LoadU(kTag, x + j), mean), inverse);
      hn::StoreU(hn::MulAdd(v, hn::LoadU(kTag, gamma + j), hn::LoadU(kTag, beta + j)), kTag, y + j);
    }
  }
}

// This thread's scratch: it grows and is kept.
float* Scratch(size_t size) {
  static thread_local Floats scratch;
  scratch.Require(static_cast<int64_t>(size));
  return scratch.data();
}

// to[i] = x[i] factor
HWY_INLINE void Scale(const float* x, float factor, int64_t n, float* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = x[i] * factor;
}

// A head's sums lie tile by tile, in the order of ForColumns: [features][columns of the tile]. Many
// rows' sums are more than a cache holds, and what is read in one run comes from memory fastest.
template <size_t kPanels>
struct SumsTile {
  static constexpr ptrdiff_t kStep = kPanels * kPanel;  // of a feature
  static constexpr ptrdiff_t kAhead = 4096 / sizeof(float);

  // tile += queries sums. A function of its own, so that the sums stay in registers.
  template <size_t kRows>
  static HWY_NOINLINE void MulAdd(const float* HWY_RESTRICT queries, int64_t features,
                                  const float* HWY_RESTRICT sums, Tile<kRows, kPanels>& tile) {
    Tile<kRows, kPanels> t = tile;
    for (int64_t f = 0; f < features; ++f) {
      for (size_t panel = 0; panel < kPanels; ++panel) {
        hwy::Prefetch(sums + kAhead + panel * kPanel);
      }
      t.MulAdd(queries + f, features, sums, kStep, kPanel, 1);
      sums += kStep;
    }
    tile = t;
  }
};

void AttendLinear(const CacheView& cache, HeadTables weights, HeadTables phases, int64_t parts,
                  float epsilon, Rows q, int64_t count, Rows out) {
  const int64_t d = cache.width, padded = Padded(d), columns = cache.columns();
  const int64_t features = cache.sums ? parts * d : 0;
  HWY_ALIGN float scores[kTileRows * kRecent];
  float* const phased = Scratch(kTileRows * features);
  float inverse[kTileRows];
  for (int64_t head = 0; head < cache.heads; ++head) {
    const float* const sums = cache.sums + head * features * padded;
    ForRows(count, [&](int64_t first, auto rows) HWY_ATTR {
      const float* const queries = q.data + first * q.stride + head * padded;
      const int64_t token = cache.length - count + first;  // of the first query
      const int64_t seen = token + static_cast<int64_t>(rows);
      ForColumns(Padded(seen), [&](int64_t column, auto panels) HWY_ATTR {
        Tile<rows, panels> tile;
        tile.Clear();
        tile.MulAdd(queries, q.stride, cache.keys + column * columns + head * padded * kPanel,
                    kPanel, columns * kPanel, d);
        tile.Store(scores + column, kRecent, [&](auto y, size_t row, const float* at) HWY_ATTR {
          const ptrdiff_t j = at - scores - static_cast<ptrdiff_t>(row) * kRecent;
          const auto weight =
              hn::LoadU(kTag, weights[head] + j - token - static_cast<ptrdiff_t>(row));
          // values behind the tokens are stale: not even their NaNs may reach the sums
          return hn::IfThenElseZero(hn::Ne(weight, hn::Zero(kTag)), hn::Mul(y, weight));
        });
      });
      for (size_t r = 0; r < rows; ++r) {
        float sum = SumVectors(scores + r * kRecent, Padded(seen));
        if (features > 0) {
          float* const to = phased + r * features;
          for (int64_t part = 0; part < parts; ++part) {
            Scale(queries + static_cast<ptrdiff_t>(r) * q.stride,
                  phases[head][(first + static_cast<int64_t>(r)) * parts + part], d, to + part * d);
          }
          sum += Dot(to, cache.key_sums + head * features, features);
        }
        inverse[r] = 1 / std::max(sum, epsilon);
      }
      ForColumns(padded, [&](int64_t column, auto panels) HWY_ATTR {
        Tile<rows, panels> tile;
        tile.Clear();
        tile.MulAdd(scores, kRecent, cache.values + head * padded + column, columns, kPanel, seen);
        if (features > 0) {
          SumsTile<panels>::MulAdd(phased, features, sums + column * features, tile);
        }
        tile.Store(out.data + first * out.stride + head * padded + column, out.stride,
                   [&](auto y, size_t row, const float*)
                       HWY_ATTR { return hn::Mul(y, hn::Set(kTag, inverse[row])); });
      });
    });
  }
}

// exp(x[0 .. n) - their maximum), 0 from n to `size`. Returns their sum.
HWY_INLINE float Exponentials(float* x, int64_t n, int64_t size) {
  const float most = *std::max_element(x, x + n);
  auto sums = hn::Zero(kTag);
  for (int64_t j = 0; j < size; j += kLanes) {
    auto e = hn::Zero(kTag);
    if (j < n) {
      e = hn::IfThenElseZero(hn::FirstN(kTag, std::min<int64_t>(n - j, kLanes)),
                             hn::Exp(kTag, hn::Sub(hn::LoadU(kTag, x + j), hn::Set(kTag, most))));
    }
    sums = hn::Add(sums, e);
    hn::StoreU(e, kTag, x + j);
  }
  return hn::GetLane(hn::SumOfLanes(kTag, sums));
}

void AttendSoftmax(const CacheView& cache, Rows q, int64_t count, Rows out) {
  const int64_t padded = Padded(cache.width), columns = cache.columns();
  const int64_t room = Padded(cache.length);
  float* const scores = Scratch(kTileRows * room);
  float inverse[kTileRows];
  for (int64_t head = 0; head < cache.heads; ++head) {
    ForRows(count, [&](int64_t first, auto rows) HWY_ATTR {
      const int64_t token = cache.length - count + first;
      const int64_t seen = token + static_cast<int64_t>(rows);
      ForColumns(Padded(seen), [&](int64_t column, auto panels) HWY_ATTR {
        Tile<rows, panels> tile;
        tile.Clear();
        tile.MulAdd(q.data + first * q.stride + head * padded, q.stride,
                    cache.keys + column * columns + head * padded * kPanel, kPanel,
                    columns * kPanel, cache.width);
        tile.Store(scores + column, room, [](auto y, size_t, const float*) HWY_ATTR { return y; });
      });
      for (size_t r = 0; r < rows; ++r) {
        inverse[r] = 1 / Exponentials(scores + static_cast<int64_t>(r) * room,
                                      token + static_cast<int64_t>(r) + 1, Padded(seen));
      }
      ForColumns(padded, [&](int64_t column, auto panels) HWY_ATTR {
        Tile<rows, panels> tile;
        tile.Clear();
        tile.MulAdd(scores, room, cache.values + head * padded + column, columns, kPanel, seen);
        tile.Store(out.data + first * out.stride + head * padded + column, out.stride,
                   [&](auto y, size_t row, const float*)
                       HWY_ATTR { return hn::Mul(y, hn::Set(kTag, inverse[row])); });
      });
    });
  }
}

void Fold(const CacheView& cache, HeadTables phases, int64_t parts, float* sums, float* key_sums) {
  const int64_t d = cache.width, padded = Padded(d), columns = cache.columns();
  const int64_t length = Padded(cache.length);
  float* const phased = Scratch(d * kRecent);
  for (int64_t head = 0; head < cache.heads; ++head) {
    for (int64_t part = 0; part < parts; ++part) {
      const float* const phase = phases[head] + part * kRecent;
      const int64_t at = head * parts + part;
      for (int64_t f = 0; f < d; ++f) {
        const float* const key = cache.keys + (head * padded + f) * kPanel;
        float* const to = phased + f * kRecent;
        for (int64_t block = 0; block < length; block += kPanel) {
          for (int64_t j = 0; j < kPanel; ++j) {
            to[block + j] = key[block * columns + j] * phase[block + j];
          }
        }
        key_sums[at * d + f] += SumVectors(to, length);
      }
      float* const to = sums + head * parts * d * padded;
      ForTiles(d, padded, [&](int64_t row, auto count, int64_t column, auto panels) HWY_ATTR {
        Tile<count, panels> tile;
        constexpr ptrdiff_t kStep = SumsTile<panels>::kStep;
        float* const tile_sums = to + column * parts * d + (part * d + row) * kStep;
        tile.Start(tile_sums, kStep);
        tile.MulAdd(phased + row * kRecent, kRecent, cache.values + head * padded + column, columns,
                    kPanel, cache.length);
        tile.Store(tile_sums, kStep, [](auto y, size_t, const float*) HWY_ATTR { return y; });
      });
    }
  }
}

}  // namespace cosdt::agents::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cosdt::agents::kernels {

HWY_EXPORT(Normalize);
HWY_EXPORT(AttendLinear);
HWY_EXPORT(AttendSoftmax);
HWY_EXPORT(Fold);

void Normalize(Rows from, int64_t rows, int64_t width, const float* gamma, const float* beta,
               float epsilon, Rows to) {
  HWY_DYNAMIC_DISPATCH(Normalize)(from, rows, width, gamma, beta, epsilon, to);
}

void AttendLinear(const CacheView& cache, HeadTables weights, HeadTables phases, int64_t parts,
                  float epsilon, Rows q, int64_t count, Rows out) {
  HWY_DYNAMIC_DISPATCH(AttendLinear)(cache, weights, phases, parts, epsilon, q, count, out);
}

void AttendSoftmax(const CacheView& cache, Rows q, int64_t count, Rows out) {
  HWY_DYNAMIC_DISPATCH(AttendSoftmax)(cache, q, count, out);
}

void Fold(const CacheView& cache, HeadTables phases, int64_t parts, float* sums, float* key_sums) {
  HWY_DYNAMIC_DISPATCH(Fold)(cache, phases, parts, sums, key_sums);
}

}  // namespace cosdt::agents::kernels
#endif
