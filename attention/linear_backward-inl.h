// Backward pass of causal linear attention with cosine weights. Included once for every instruction
// set.
//
// With r = 1 / max(D, eps), g^ = r g and d_i = -[D >= eps] g^_i . o_i, the gradient of a weight is
// ds_ij = g^_i . v_j + d_i. The rows [g^, d] and [v, 1] make it one product. Then
//   dq_i = sum_{j<=i} w_ij ds_ij k_j             a sweep forward in time, state sum [v, 1] k^T
//   dk_j = sum_{i>=j} w_ij ds_ij q_i             a sweep backward, state sum [g^, d] q^T
//   dv_j = sum_{i>=j} w_ij (q_i . k_j) g^_i      the same state, transposed
#if defined(COSDT_ATTENTION_LINEAR_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef COSDT_ATTENTION_LINEAR_BACKWARD_INL_H_
#undef COSDT_ATTENTION_LINEAR_BACKWARD_INL_H_
#else
#define COSDT_ATTENTION_LINEAR_BACKWARD_INL_H_
#endif

#include "attention/linear_forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cosdt::attention::kernels::HWY_NAMESPACE {

template <class T>
class BackwardKernel : HeadKernel<T> {
 public:
  explicit BackwardKernel(const Plan& plan)
      : HeadKernel<T>(plan),
        stateful_(plan.chunks() > 1),
        extended_(value_width_ + (problem_.normalize ? 1 : 0)),
        padded_extended_(Padded<T>(extended_)),
        state_rows_(RoundUp(parts_ * extended_, kTileRows)),
        phase_columns_(Padded<T>(state_rows_)),
        k_phase_columns_(Padded<T>(parts_ * width_)) {
    static thread_local Scratch scratch;
    scratch.Fit([this](Scratch& s) {
      const size_t w = padded_width_, vw = padded_value_width_, ew = padded_extended_;
      q_ = s.template Take<T>(kBlockRows * w);
      g_ = s.template Take<T>(kBlockRows * ew);
      o_ = s.template Take<T>(ew);
      k_ = s.template Take<T>(chunk_rows_ * w);
      v_ = s.template Take<T>(chunk_rows_ * ew);
      k_transposed_ = s.template Take<T>(w * chunk_columns_);
      v_transposed_ = s.template Take<T>(ew * chunk_columns_);
      scores_ = s.template Take<T>(kBlockRows * chunk_columns_);
      score_gradients_ = s.template Take<T>(kBlockRows * chunk_columns_);
      dq_ = s.template Take<T>(kBlockRows * w);
      dk_ = s.template Take<T>(chunk_rows_ * w);
      dv_ = s.template Take<T>(chunk_rows_ * vw);
      if (!stateful_) return;
      g_phases_ = s.template Take<T>(kBlockRows * phase_columns_);
      v_phases_ = s.template Take<T>(chunk_rows_ * phase_columns_);
      k_phases_ = s.template Take<T>(chunk_rows_ * k_phase_columns_);
      value_state_.Take(s, StateSize(), plan_.segments() > 1);
      gradient_state_.Take(s, StateSize(), plan_.segments() > 1);
      transposed_state_ = s.template Take<T>(RoundUp(parts_ * w, 4) * vw);
    });
    scratch_size_ = scratch.size();
    if (!stateful_) return;
    this->ClearRows(g_phases_, phase_columns_, 0, kBlockRows);
    this->ClearRows(v_phases_, phase_columns_, 0, chunk_rows_);
    this->ClearRows(k_phases_, k_phase_columns_, 0, chunk_rows_);
  }

  // Elements of one of the two states.
  size_t StateSize() const { return state_rows_ * padded_width_; }

  size_t ScratchSize() const { return scratch_size_; }

  void Head(int64_t head) {
    this->SetHead(head);
    if (!stateful_) {
      SweepBackward(0);
      return;
    }
    if (value_state_.base) {
      value_state_.Clear(value_state_.base);
      gradient_state_.Clear(gradient_state_.base);
    }
    const int64_t segments = plan_.segments();
    for (int64_t segment = 0; segment < segments; ++segment) {
      SweepForward(segment);
      if (segment + 1 < segments) value_state_.EndSegment();
    }
    for (int64_t segment = segments - 1; segment >= 0; --segment) {
      SweepBackward(segment);
      if (segment > 0) gradient_state_.EndSegment();
    }
  }

  // One segment of a head with the sums over those before and after it.
  void Segment(int64_t head, int64_t segment, const T* before, const T* after) {
    this->SetHead(head);
    std::memcpy(value_state_.base, before, StateSize() * sizeof(T));
    std::memcpy(gradient_state_.base, after, StateSize() * sizeof(T));
    SweepForward(segment);
    SweepBackward(segment);
  }

  // The segment's contribution to both states.
  void SumSegment(int64_t head, int64_t segment, T* values, T* gradients) {
    this->SetHead(head);
    value_state_.BeginSegment();
    gradient_state_.BeginSegment();
    this->ForChunks(segment, [this](size_t begin, size_t n, bool) HWY_ATTR {
      LoadKeys(begin, n);
      AddValues(n);
    });
    ForChunksBackward(segment, [this](size_t begin, size_t n) HWY_ATTR {
      for (size_t first = 0; first < n; first += kBlockRows) {
        const size_t rows = std::min(kBlockRows, n - first);
        LoadBlock(begin + first, rows);
        AddGradients(rows);
      }
    });
    std::memcpy(values, value_state_.local, StateSize() * sizeof(T));
    std::memcpy(gradients, gradient_state_.local, StateSize() * sizeof(T));
  }

 private:
  using HeadKernel<T>::plan_, HeadKernel<T>::problem_, HeadKernel<T>::width_,
      HeadKernel<T>::value_width_, HeadKernel<T>::parts_, HeadKernel<T>::padded_width_,
      HeadKernel<T>::padded_value_width_, HeadKernel<T>::chunk_rows_, HeadKernel<T>::chunk_columns_;

  template <class Body>
  void ForChunksBackward(int64_t segment, const Body& body) const {
    const int64_t first = segment * plan_.chunks_per_segment();
    const int64_t last = std::min(first + plan_.chunks_per_segment(), plan_.chunks());
    for (int64_t chunk = last; chunk-- > first;) {
      body(this->ChunkBegin(chunk), this->ChunkLength(chunk));
    }
  }

  // dq of a segment.
  void SweepForward(int64_t segment) {
    value_state_.BeginSegment();
    const bool last_segment = segment + 1 == plan_.segments();
    this->ForChunks(segment, [&](size_t begin, size_t n, bool last) HWY_ATTR {
      LoadKeys(begin, n);
      this->TransposeChunk(v_, padded_extended_, n, extended_, v_transposed_);
      for (size_t first = 0; first < n; first += kBlockRows) {
        const size_t rows = std::min(kBlockRows, n - first);
        LoadBlock(begin + first, rows);
        ScoreGradients(first, rows);
        QueryGradients(begin, first, rows);
      }
      if (last && last_segment) return;
      AddValues(n);
      value_state_.Refresh();
    });
  }

  // dk and dv of a segment, and dq too if there is a single chunk.
  void SweepBackward(int64_t segment) {
    if (stateful_) gradient_state_.BeginSegment();
    ForChunksBackward(segment, [&](size_t begin, size_t n) HWY_ATTR {
      LoadKeys(begin, n);
      this->TransposeChunk(k_, padded_width_, n, width_, k_transposed_);
      this->TransposeChunk(v_, padded_extended_, n, extended_, v_transposed_);
      if (stateful_) {
        TakeLaterTokens(n);
      } else {
        this->ClearRows(dk_, padded_width_, 0, RoundUp(n, kTileRows));
        this->ClearRows(dv_, padded_value_width_, 0, RoundUp(n, kTileRows));
      }
      for (size_t first = 0; first < n; first += kBlockRows) {
        const size_t rows = std::min(kBlockRows, n - first);
        const size_t tiles = RoundUp(rows, kTileRows);
        LoadBlock(begin + first, rows);
        ScoreGradients(first, rows);
        WeightedScores(q_, padded_width_, k_transposed_, chunk_columns_, first, rows, width_,
                       this->weights_, scores_, chunk_columns_);
        if (!stateful_) QueryGradients(begin, first, rows);
        AddTransposedScoresTimes(score_gradients_, chunk_columns_, first, tiles, q_, padded_width_,
                                 padded_width_, dk_, padded_width_);
        AddTransposedScoresTimes(scores_, chunk_columns_, first, tiles, g_, padded_extended_,
                                 padded_value_width_, dv_, padded_value_width_);
        if (stateful_ && begin > 0) AddGradients(rows);
      }
      StoreKeyGradients(begin, n);
      if (stateful_) gradient_state_.Refresh();
    });
  }

  // Rows k and [v, 1] of a chunk, zeros at padding.
  void LoadKeys(size_t begin, size_t n) {
    for (size_t j = 0; j < n; ++j) {
      T* const k = k_ + j * padded_width_;
      T* const v = v_ + j * padded_extended_;
      this->LoadFeatures(problem_.k, begin + j, true, k);
      this->LoadValue(begin + j, v);
      Extend(v, this->IsReal(begin + j) ? T{1} : T{0});
      if (!stateful_) continue;
      this->AtPhases(k, width_, begin + j, k_phases_ + j * k_phase_columns_);
      this->AtPhases(v, extended_, begin + j, v_phases_ + j * phase_columns_);
    }
    this->ClearRows(k_, padded_width_, n, RoundUp(n, kRowStep));
    this->ClearRows(v_, padded_extended_, n, RoundUp(n, kRowStep));
  }

  // Rows q and [g^, d] of a block that begins at a token.
  void LoadBlock(size_t begin, size_t rows) {
    for (size_t i = 0; i < rows; ++i) {
      const size_t token = begin + i;
      T* const g = g_ + i * padded_extended_;
      this->LoadFeatures(problem_.q, token, false, q_ + i * padded_width_);
      LoadRow(problem_.grad_out, problem_.type, this->Offset(problem_.grad_out, token),
              value_width_, g);
      if (problem_.normalize) {
        const T sum = static_cast<const T*>(problem_.normalizer)[this->row0_ + token];
        Scale(g, this->Reciprocal(sum), padded_value_width_, g);
        LoadRow(problem_.out, problem_.type, this->Offset(problem_.out, token), value_width_, o_);
        const bool clamped = !(sum >= static_cast<T>(problem_.eps));
        Extend(g, clamped ? T{0} : -Dot(g, o_, padded_value_width_));
      }
      if (stateful_) this->AtPhases(g, extended_, token, g_phases_ + i * phase_columns_);
    }
    const size_t tiles = RoundUp(rows, kTileRows);
    this->ClearRows(q_, padded_width_, rows, tiles);
    this->ClearRows(g_, padded_extended_, rows, tiles);
  }

  // Appends the normaliser's value to a row.
  void Extend(T* row, T value) const {
    if (!problem_.normalize) return;
    for (size_t p = padded_value_width_; p < padded_extended_; ++p) row[p] = 0;
    row[value_width_] = value;
  }

  void ScoreGradients(size_t first, size_t rows) {
    WeightedScores(g_, padded_extended_, v_transposed_, chunk_columns_, first, rows, extended_,
                   this->weights_, score_gradients_, chunk_columns_);
  }

  void QueryGradients(size_t begin, size_t first, size_t rows) {
    ScoresTimes(score_gradients_, chunk_columns_, first, k_, padded_width_, g_phases_,
                phase_columns_, value_state_.use, padded_width_, stateful_ ? parts_ * extended_ : 0,
                rows, padded_width_, dq_, padded_width_);
    for (size_t i = 0; i < rows; ++i) {
      T* const dq = dq_ + i * padded_width_;
      MulFeatureSlopes(problem_.features, q_ + i * padded_width_, width_, dq);
      StoreRow(dq, T{1}, width_, problem_.grad_q, problem_.type,
               this->Offset(problem_.grad_q, begin + first + i));
    }
  }

  void StoreKeyGradients(size_t begin, size_t n) {
    for (size_t j = 0; j < n; ++j) {
      T* const dk = dk_ + j * padded_width_;
      T* const dv = dv_ + j * padded_value_width_;
      if (this->IsReal(begin + j)) {
        MulFeatureSlopes(problem_.features, k_ + j * padded_width_, width_, dk);
      } else {
        this->ClearRows(dk, padded_width_, 0, 1);
        this->ClearRows(dv, padded_value_width_, 0, 1);
      }
      StoreRow(dk, T{1}, width_, problem_.grad_k, problem_.type,
               this->Offset(problem_.grad_k, begin + j));
      StoreRow(dv, T{1}, value_width_, problem_.grad_v, problem_.type,
               this->Offset(problem_.grad_v, begin + j));
    }
  }

  void AddValues(size_t n) {
    Product<true, true>(v_phases_, phase_columns_, k_, padded_width_, state_rows_, padded_width_, n,
                        value_state_.local, padded_width_);
  }

  void AddGradients(size_t rows) {
    Product<true, true>(g_phases_, phase_columns_, q_, padded_width_, state_rows_, padded_width_,
                        rows, gradient_state_.local, padded_width_);
  }

  // Begins dk and dv of a chunk with the contribution of the tokens after it.
  void TakeLaterTokens(size_t n) {
    Product<false, false>(v_phases_, phase_columns_, gradient_state_.use, padded_width_,
                          RoundUp(n, kTileRows), padded_width_, parts_ * extended_, dk_,
                          padded_width_);
    for (size_t part = 0; part < parts_; ++part) {
      Transpose(gradient_state_.use + part * extended_ * padded_width_, padded_width_, value_width_,
                width_, transposed_state_ + part * width_ * padded_value_width_,
                padded_value_width_);
    }
    Product<false, false>(k_phases_, k_phase_columns_, transposed_state_, padded_value_width_,
                          RoundUp(n, kTileRows), padded_value_width_, parts_ * width_, dv_,
                          padded_value_width_);
  }

  const bool stateful_;
  size_t scratch_size_;
  const size_t extended_, padded_extended_;  // width of [v, 1]
  const size_t state_rows_, phase_columns_, k_phase_columns_;
  T *q_, *g_, *o_, *k_, *v_, *k_transposed_, *v_transposed_, *scores_, *score_gradients_;
  T *dq_, *dk_, *dv_, *g_phases_ = nullptr, *v_phases_ = nullptr, *k_phases_ = nullptr;
  State<T> value_state_, gradient_state_;
  T* transposed_state_ = nullptr;
};

}  // namespace cosdt::attention::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
