// One layer's memory of one row's tokens: the latest with keys and values, and for linear
// kinds sums over those before them, so that a step's time and memory stay the same at any context.
#pragma once

#include <cstdint>
#include <vector>

#include "agents/kernels/decode_kernels.h"
#include "attention/attention.h"

namespace cosdt::agents::decoding {

using kernels::CacheView;
using kernels::Epilogue;
using kernels::Floats;
using kernels::kPanel;
using kernels::kRecent;
using kernels::Packed;
using kernels::Padded;
using kernels::Rows;

// A kind of attention, for all layers and rows. Must outlive the caches that share it.
struct CacheOptions {
  // Throws std::invalid_argument for a kind that IsKnown does not know.
  CacheOptions(const attention::AttentionOptions& options, int64_t heads, int64_t head_width);

  // cosformer, linear and softmax.
  static bool IsKnown(const attention::AttentionOptions& options);

  int64_t heads, width;
  int64_t columns() const { return heads * Padded(width); }
  bool softmax;
  Epilogue features;        // of queries and keys
  float query_scale;        // of queries
  int64_t reweight_length;  // M; 0: all weights are 1
  int64_t parts() const { return reweight_length > 0 ? 2 : 1; }
  std::vector<double> decays;  // per token, by head; empty: none
  std::vector<float> weights;  // of AttendLinear, from -kRecent on; with decays for every head
};

class AttentionCache {
 public:
  explicit AttentionCache(const CacheOptions& form) : form_(&form) {}

  // Forgets all tokens.
  void Clear();

  // Takes up the next `count` tokens: keys (features) and values, columns() wide. q holds the
  // queries of the last `queries` of them (possibly 0), out gets their mixed values. Linear kinds
  // with a reweight_length M and no decay: at most M tokens in all, which is the caller's to
  // check.
  void Advance(Rows q, int64_t queries, Rows k, Rows v, int64_t count, Rows out);

 private:
  void Append(Rows k, Rows v, int64_t count);
  void FoldLatest();
  void DecaySums(int64_t distance);
  void Attend(Rows q, int64_t asked, Rows out) const;
  CacheView View() const;
  // cos and sin of pi/2 position / M, or 1, times a head's decay over `distance` tokens.
  void WritePhases(int64_t position, int64_t head, int64_t distance, float* to,
                   ptrdiff_t stride) const;
  int64_t tables() const { return form_->decays.empty() ? 1 : form_->heads; }

  const CacheOptions* form_;
  int64_t length_ = 0;  // latest tokens
  int64_t folded_ = 0;  // tokens in the sums
  Floats keys_, values_, sums_, key_sums_;
};

}  // namespace cosdt::agents::decoding
