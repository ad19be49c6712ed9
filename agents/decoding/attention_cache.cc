#include "agents/decoding/attention_cache.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>

namespace cosdt::agents::decoding {
namespace {

constexpr float kEpsilon = 1e-6f;  // of the linear kinds' normaliser

Rows From(Rows rows, int64_t first) { return {rows.data + first * rows.stride, rows.stride}; }

}  // namespace

bool CacheOptions::IsKnown(const attention::AttentionOptions& options) {
  return options.kind == "cosformer" || options.kind == "linear" || options.kind == "softmax";
}

CacheOptions::CacheOptions(const attention::AttentionOptions& options, int64_t head_count,
                           int64_t head_width)
    : heads(head_count),
      width(head_width),
      softmax(options.kind == "softmax"),
      features(softmax ? Epilogue::kStore
               : options.kind == "cosformer" && options.feature_map == "relu"
                   ? Epilogue::kRelu
                   : Epilogue::kEluPlusOne),
      query_scale(softmax ? 1 / std::sqrt(static_cast<float>(width)) : 1),
      reweight_length(options.kind == "cosformer" && options.reweight ? options.reweight_length
                                                                      : 0) {
  if (!IsKnown(options)) {
    throw std::invalid_argument("decoding: expected cosformer, linear or softmax, found " +
                                options.kind);
  }
  if (options.kind == "cosformer" && options.half_life > 0) {
    for (int64_t head = 0; head < heads; ++head) {
      decays.push_back(attention::DecayOf(options.half_life, head));
    }
  }
  const size_t tables = std::max<size_t>(1, decays.size());
  weights.resize(tables * 2 * kRecent);
  for (size_t table = 0; table < tables; ++table) {
    const double decay = decays.empty() ? 1 : decays[table];
    for (int64_t distance = 0; distance <= kRecent; ++distance) {
      const double cosine = reweight_length == 0
                                ? 1
                                : std::cos(std::numbers::pi / 2 * static_cast<double>(distance) /
                                           static_cast<double>(reweight_length));
      weights[table * 2 * kRecent + static_cast<size_t>(kRecent - distance)] =
          static_cast<float>(cosine * std::pow(decay, static_cast<double>(distance)));
    }
  }
}

void AttentionCache::Clear() { length_ = folded_ = 0; }

CacheView AttentionCache::View() const {
  return {.heads = form_->heads,
          .width = form_->width,
          .length = length_,
          .keys = keys_.data(),
          .values = values_.data(),
          .sums = folded_ > 0 ? sums_.data() : nullptr,
          .key_sums = folded_ > 0 ? key_sums_.data() : nullptr};
}

void AttentionCache::WritePhases(int64_t position, int64_t head, int64_t distance, float* to,
                                 ptrdiff_t stride) const {
  const double decay = form_->decays.empty() ? 1
                                             : std::pow(form_->decays[static_cast<size_t>(head)],
                                                        static_cast<double>(distance));
  if (form_->parts() == 1) {
    to[0] = static_cast<float>(decay);
    return;
  }
  const double angle = std::numbers::pi / 2 * static_cast<double>(position) /
                       static_cast<double>(form_->reweight_length);
  to[0] = static_cast<float>(decay * std::cos(angle));
  to[stride] = static_cast<float>(decay * std::sin(angle));
}

void AttentionCache::Append(Rows k, Rows v, int64_t count) {
  const int64_t columns = form_->columns();
  const int64_t needed = std::max(kRecent, Padded(length_ + count)) * columns;
  if (keys_.size() < needed) {  // softmax's alone grow
    const int64_t room = std::max(needed, 2 * keys_.size());
    for (Floats* cache : {&keys_, &values_}) {
      Floats larger(room);
      std::copy_n(cache->data(), cache->size(), larger.data());
      *cache = std::move(larger);
    }
  }
  for (int64_t token = 0; token < count; ++token) {
    std::copy_n(v.data + token * v.stride, columns, values_.data() + (length_ + token) * columns);
  }
  for (int64_t token = 0; token < count;) {
    const int64_t at = length_ + token;
    const int64_t group = std::min(count - token, kPanel - at % kPanel);
    float* const to = keys_.data() + at / kPanel * kPanel * columns + at % kPanel;
    const float* const from = k.data + token * k.stride;
    for (int64_t c = 0; c < columns; ++c) {
      for (int64_t j = 0; j < group; ++j) to[c * kPanel + j] = from[j * k.stride + c];
    }
    token += group;
  }
  length_ += count;
}

void AttentionCache::FoldLatest() {
  const int64_t parts = form_->parts();
  const int64_t features = form_->heads * parts * form_->width;
  if (folded_ == 0) {
    if (sums_.size() == 0) {
      sums_ = Floats(features * Padded(form_->width));
      key_sums_ = Floats(features);
    } else {
      std::fill_n(sums_.data(), sums_.size(), 0.0f);
      std::fill_n(key_sums_.data(), key_sums_.size(), 0.0f);
    }
  }
  constexpr int64_t kTable = 2 * kRecent;
  static thread_local std::vector<float> phases;
  phases.assign(static_cast<size_t>(tables() * kTable), 0);
  for (int64_t head = 0; head < tables(); ++head) {
    for (int64_t j = 0; j < length_; ++j) {
      WritePhases(folded_ + j, head, length_ - j, phases.data() + head * kTable + j, kRecent);
    }
  }
  if (folded_ > 0) DecaySums(length_);
  Fold(View(), {phases.data(), form_->decays.empty() ? 0 : kTable}, parts, sums_.data(),
       key_sums_.data());
  folded_ += length_;
  length_ = 0;
}

// Multiplies the sums by the heads' decays over `distance` tokens.
void AttentionCache::DecaySums(int64_t distance) {
  const int64_t features = form_->parts() * form_->width, size = features * Padded(form_->width);
  for (size_t head = 0; head < form_->decays.size(); ++head) {
    const auto decay =
        static_cast<float>(std::pow(form_->decays[head], static_cast<double>(distance)));
    const auto scale = [decay](float* from, int64_t n) {
      for (int64_t i = 0; i < n; ++i) from[i] *= decay;
    };
    scale(sums_.data() + static_cast<int64_t>(head) * size, size);
    scale(key_sums_.data() + static_cast<int64_t>(head) * features, features);
  }
}

// Mixed values of the last `asked` tokens.
void AttentionCache::Attend(Rows q, int64_t asked, Rows out) const {
  constexpr int64_t kTable = 2 * kRecent;
  static thread_local std::vector<float> phases;
  phases.resize(static_cast<size_t>(tables() * kTable));
  for (int64_t head = 0; folded_ > 0 && head < tables(); ++head) {
    for (int64_t i = 0; i < asked; ++i) {
      const int64_t token = length_ - asked + i;
      WritePhases(folded_ + token, head, token, phases.data() + head * kTable + i * form_->parts(),
                  1);
    }
  }
  const ptrdiff_t stride = form_->decays.empty() ? 0 : kTable;
  AttendLinear(View(), {form_->weights.data() + kRecent, stride}, {phases.data(), stride},
               form_->parts(), kEpsilon, q, asked, out);
}

void AttentionCache::Advance(Rows q, int64_t queries, Rows k, Rows v, int64_t count, Rows out) {
  if (form_->softmax) {
    Append(k, v, count);
    AttendSoftmax(View(), q, queries, out);
    return;
  }
  const int64_t first_query = count - queries;
  for (int64_t done = 0; done < count;) {
    if (length_ > 0 && length_ + count - done > kRecent) FoldLatest();
    const int64_t group = std::min(count - done, kRecent - length_);
    Append(From(k, done), From(v, done), group);
    done += group;
    const int64_t asked = std::min(group, done - first_query);
    if (asked <= 0) continue;
    const int64_t first = done - asked - first_query;
    Attend(From(q, first), asked, From(out, first));
  }
}

}  // namespace cosdt::agents::decoding
