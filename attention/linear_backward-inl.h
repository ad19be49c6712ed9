// Backward pass of causal linear attention with cosine weights. Included once for every instruction
// set.
//
// With r = 1 / max(D, eps) and d_i = -[D >= eps] g_i . o_i, the gradient of a weight is
// ds_ij = r_i (g_i . v_j + d_i), a product of the rows [g, d] and [v, 1]. Then
//   dq_i = sum_{j<=i} w_ij ds_ij k_j             a sweep forward in time, state sum [v, 1] k^T
//   dk_j = sum_{i>=j} w_ij ds_ij q_i             a sweep backward, state sum r [g, d] q^T
//   dv_j = sum_{i>=j} w_ij (q_i . k_j) r_i g_i   the same state, transposed
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
        state_rows_(RoundUp(parts_ * (value_width_ + (problem_.normalize ? 1 : 0)), kTileRows)),
        phase_columns_(Padded<T>(state_rows_)) {
    for (State<T>* state : {&value_state_, &gradient_state_}) {
      state->rows = state_rows_;
      state->columns = width_;
    }
    static thread_local Scratch scratch;
    scratch.Fit([this](Scratch& s) { Take(s); });
    scratch_size_ = scratch.size();
    std::fill_n(ones_, chunk_rows_, T{1});
    if (!stateful_) return;
    this->ClearRows(g_phases_, 0, block_rows_);
    this->ClearRows(v_phases_, 0, chunk_rows_);
  }

  // Elements of one of the two states.
  size_t StateSize() const { return value_state_.size(); }
  size_t ScratchSize() const { return scratch_size_; }

  void Head(int64_t head) {
    this->SetHead(head);
    if (stateful_) {
      value_state_.Clear();
      gradient_state_.Clear();
      SweepForward(0, plan_.chunks());
    }
    SweepBackward(0, plan_.chunks());
  }

  // One segment of a head with the sums over those before and after it.
  void Segment(int64_t head, int64_t segment, const T* before, const T* after) {
    this->SetHead(head);
    value_state_.CopyFrom(before);
    gradient_state_.CopyFrom(after);
    const int64_t first = segment * plan_.chunks_per_segment(), last = this->ChunksEnd(segment);
    SweepForward(first, last);
    SweepBackward(first, last);
  }

  // The sums before and after each of a head's segments, the slice's rows of them; `values` and
  // `gradients` have those of the head.
  void SumStates(int64_t head, const Slice& slice, T* values, T* gradients) {
    this->SetHead(head);
    value_state_.Clear();
    gradient_state_.Clear();
    const size_t begin = slice.Begin(state_rows_), end = slice.End(state_rows_);
    const int64_t segments = plan_.segments();
    for (int64_t segment = 0; segment < segments; ++segment) {
      value_state_.CopyRows(begin, end, values + static_cast<size_t>(segment) * StateSize());
      if (segment + 1 == segments) break;
      for (int64_t c = segment * plan_.chunks_per_segment(); c < this->ChunksEnd(segment); ++c) {
        LoadChunk(this->ChunkBegin(c), this->ChunkLength(c));
        AddValues(this->ChunkBegin(c), this->ChunkLength(c), begin, end);
      }
    }
    for (int64_t segment = segments; segment-- > 0;) {
      gradient_state_.CopyRows(begin, end, gradients + static_cast<size_t>(segment) * StateSize());
      for (int64_t c = this->ChunksEnd(segment); c-- > segment * plan_.chunks_per_segment();) {
        const size_t n = this->ChunkLength(c);
        for (size_t first = 0; first < n; first += block_rows_) {
          const size_t token = this->ChunkBegin(c) + first, rows = std::min(block_rows_, n - first);
          LoadBlock(token, rows);
          AddGradients(token, first, rows, begin, end);
        }
      }
    }
  }

 private:
  using HeadKernel<T>::plan_, HeadKernel<T>::problem_, HeadKernel<T>::width_,
      HeadKernel<T>::value_width_, HeadKernel<T>::parts_, HeadKernel<T>::padded_width_,
      HeadKernel<T>::padded_value_width_, HeadKernel<T>::chunk_rows_, HeadKernel<T>::chunk_columns_,
      HeadKernel<T>::block_rows_, HeadKernel<T>::stateful_;

  void Take(Scratch& s) {
    const size_t w = padded_width_, vw = padded_value_width_;
    const auto take = [&s](size_t n) { return s.template Take<T>(n); };
    q_ = take(block_rows_ * w);
    g_ = take(block_rows_ * vw);
    o_ = take(block_rows_ * vw);
    k_ = take(chunk_rows_ * w);
    v_ = take(chunk_rows_ * vw);
    k_packed_ = take(this->PackedSize(width_));
    k_transposed_ = take(this->TransposedSize(w));
    v_transposed_ = take(this->TransposedSize(vw));
    scores_ = {take(block_rows_ * chunk_columns_), chunk_columns_};
    score_gradients_ = {take(block_rows_ * chunk_columns_), chunk_columns_};
    dq_ = take(block_rows_ * w);
    dk_ = take(chunk_rows_ * w);
    dv_ = take(chunk_rows_ * vw);
    factors_ = take(block_rows_);
    deltas_ = take(block_rows_);
    ones_ = take(chunk_rows_);
    if (!stateful_) return;
    state_factors_ = take(block_rows_);
    key_factors_ = take(chunk_rows_);
    g_phases_ = {take(block_rows_ * phase_columns_), phase_columns_};
    v_phases_ = {take(chunk_rows_ * phase_columns_), phase_columns_};
    value_state_.data = take(StateSize());
    gradient_state_.data = take(StateSize());
    // transposing rounds rows up
    transposed_state_ = {take(PanelsOf<T>(value_width_) * kPanel<T> * TransposedRows()),
                         TransposedRows()};
  }
  size_t TransposedRows() const { return parts_ * width_ + kSquare<T>; }

  // dq of chunks.
  void SweepForward(int64_t begin_chunk, int64_t end_chunk) {
    for (int64_t chunk = begin_chunk; chunk < end_chunk; ++chunk) {
      const size_t begin = this->ChunkBegin(chunk), n = this->ChunkLength(chunk);
      LoadChunk(begin, n);
      Transpose(values_, n, value_width_, Panels<T>(v_transposed_, padded_value_width_));
      for (size_t first = 0; first < n; first += block_rows_) {
        const size_t rows = std::min(block_rows_, n - first);
        LoadBlock(begin + first, rows);
        ScoreGradients(first, rows);
        QueryGradients(begin, first, rows);
      }
      if (chunk + 1 < end_chunk) AddValues(begin, n, 0, state_rows_);
    }
  }

  // dk and dv of chunks, and dq too if there is a single one.
  void SweepBackward(int64_t begin_chunk, int64_t end_chunk) {
    for (int64_t chunk = end_chunk; chunk-- > begin_chunk;) {
      const size_t begin = this->ChunkBegin(chunk), n = this->ChunkLength(chunk);
      const bool is_last = chunk + 1 == plan_.chunks();
      LoadChunk(begin, n);
      Transpose(keys_, n, width_, Panels<T>(k_transposed_, padded_width_));
      Transpose(values_, n, value_width_, Panels<T>(v_transposed_, padded_value_width_));
      const Rows<T> dk = this->Output(problem_.grad_k, width_, begin, n, dk_),
                    dv = this->Output(problem_.grad_v, value_width_, begin, n, dv_);
      if (!is_last) TakeLaterTokens(begin, n, dk, dv);
      for (size_t first = 0; first < n; first += block_rows_) {
        const size_t rows = std::min(block_rows_, n - first);
        const size_t tiles = RoundUp(rows, kTileRows);
        LoadBlock(begin + first, rows);
        ScoreGradients(first, rows);
        Scores(queries_, Panels<T>(k_transposed_, padded_width_), first, rows, width_,
               Terms(nullptr), scores_.data, chunk_columns_);
        if (!stateful_) QueryGradients(begin, first, rows);
        AddTransposedScoresTimes(score_gradients_, first, tiles, Panels<T>(queries_), width_,
                                 is_last, Panels<T>(dk));
        AddTransposedScoresTimes(scores_, first, tiles, Panels<T>(grads_), value_width_, is_last,
                                 Panels<T>(dv));
        if (chunk > begin_chunk) AddGradients(begin + first, first, rows, 0, state_rows_);
      }
      StoreKeyGradients(begin, n, dk, dv);
    }
  }

  void LoadChunk(size_t begin, size_t n) {
    keys_ = this->LoadKeys(begin, n, k_);
    values_ = this->LoadValues(begin, n, v_);
  }

  // Queries, gradients, r and d of a block that begins at a token.
  void LoadBlock(size_t token, size_t rows) {
    queries_ = this->LoadQueries(token, rows, q_);
    grads_ =
        this->Load(problem_.grad_out, value_width_, Features::kIdentity, false, token, rows, g_);
    if (!problem_.normalize) return;
    const Rows<T> out =
        this->Load(problem_.out, value_width_, Features::kIdentity, false, token, rows, o_);
    const T* const normalizer = static_cast<const T*>(problem_.normalizer) + this->row0_ + token;
    for (size_t i = 0; i < RoundUp(rows, kTileRows); ++i) {
      factors_[i] = i < rows ? this->Reciprocal(normalizer[i]) : 0;
      const bool clamped = i >= rows || !(normalizer[i] >= static_cast<T>(problem_.eps));
      deltas_[i] = clamped ? T{0} : -Dot(grads_[i], out[i], value_width_);
    }
  }

  ScoreTerms<T> Terms(const T* extra) const {
    return {this->weights_, extra, problem_.normalize ? factors_ : nullptr};
  }

  void ScoreGradients(size_t first, size_t rows) {
    Scores(grads_, Panels<T>(v_transposed_, padded_value_width_), first, rows, value_width_,
           Terms(problem_.normalize ? deltas_ : nullptr), score_gradients_.data, chunk_columns_);
  }

  void QueryGradients(size_t begin, size_t first, size_t rows) {
    const size_t token = begin + first;
    Outside<T> before;
    if (begin > 0) before = BeforeChunk(token, first, rows);
    const Rows<T> dq = this->Output(problem_.grad_q, width_, token, rows, dq_);
    ScoresTimes(score_gradients_, first, this->AsPanels(keys_, first + rows, width_, k_packed_),
                before, static_cast<const T*>(nullptr), rows, width_, Panels<T>(dq));
    for (size_t i = 0; i < rows; ++i) {
      MulFeatureSlopes(problem_.features, queries_[i], width_, dq[i]);
    }
    this->Store(dq, dq_, width_, token, rows, problem_.grad_q);
  }

  // The earlier chunks' part of dq.
  Outside<T> BeforeChunk(size_t token, size_t first, size_t rows) const {
    const T* factors = nullptr;
    if (problem_.normalize || this->decays_) {
      const size_t tiles = RoundUp(rows, kTileRows);
      for (size_t i = 0; i < tiles; ++i) {
        state_factors_[i] = (problem_.normalize ? factors_[i] : T{1}) * this->CosineOf(token + i) *
                            this->DecayFromBegin(first + i);
      }
      factors = state_factors_;
    }
    Outside<T> before = this->FromState(value_state_, grads_, value_width_, token, factors);
    if (problem_.normalize) before.extra = deltas_;
    return before;
  }

  void StoreKeyGradients(size_t begin, size_t n, const Rows<T>& dk, const Rows<T>& dv) {
    for (size_t j = 0; j < n; ++j) {
      if (this->IsReal(begin + j)) {
        MulFeatureSlopes(problem_.features, keys_[j], width_, dk[j]);
      } else {
        std::fill_n(dk[j], width_, T{0});
        std::fill_n(dv[j], value_width_, T{0});
      }
    }
    this->Store(dk, dk_, width_, begin, n, problem_.grad_k);
    this->Store(dv, dv_, value_width_, begin, n, problem_.grad_v);
  }

  // [x, extra] of a token at both phases, those of `extra` behind those of x.
  void ExtendedAtPhases(const T* x, T extra, T factor, size_t token, T* to) const {
    this->AtPhases(x, factor, value_width_, token, to);
    if (problem_.normalize) {
      this->AtPhases(&extra, factor, 1, token, to + parts_ * value_width_);
    }
  }

  // Adds a chunk, or a block, to rows [begin, end) of a state.
  void AddValues(size_t token, size_t n, size_t begin, size_t end) {
    for (size_t j = 0; j < n; ++j) {
      ExtendedAtPhases(values_[j], T{1}, this->DecayToEnd(j), token + j, v_phases_[j]);
    }
    AddTransposedTimes(v_phases_, Panels<T>(keys_), begin, end, width_, n, this->ChunkDecay(),
                       value_state_.panels());
  }
  // `first` is the block's place in its chunk, whose blocks are added one after the other.
  void AddGradients(size_t token, size_t first, size_t rows, size_t begin, size_t end) {
    for (size_t i = 0; i < rows; ++i) {
      const bool normalize = problem_.normalize;
      ExtendedAtPhases(grads_[i], normalize ? deltas_[i] : T{0},
                       (normalize ? factors_[i] : T{1}) * this->DecayFromBegin(first + i),
                       token + i, g_phases_[i]);
    }
    AddTransposedTimes(g_phases_, Panels<T>(queries_), begin, end, width_, rows,
                       first == 0 ? this->ChunkDecay() : T{1}, gradient_state_.panels());
  }

  // Begins dk and dv of a chunk with the contribution of the tokens after it.
  void TakeLaterTokens(size_t token, size_t n, const Rows<T>& dk, const Rows<T>& dv) {
    const size_t tiles = RoundUp(n, kTileRows);
    const T* factors = nullptr;
    if (this->decays_) {
      for (size_t j = 0; j < tiles; ++j) {
        key_factors_[j] = this->CosineOf(token + j) * (j < n ? this->DecayToEnd(j) : T{0});
      }
      factors = key_factors_;
    }
    Outside<T> later = this->FromState(gradient_state_, values_, value_width_, token, factors);
    if (problem_.normalize) later.extra = ones_;
    TakeOutside(later, tiles, width_, Panels<T>(dk));
    const Panels<T> state = gradient_state_.panels();
    for (size_t part = 0; part < parts_; ++part) {
      for (size_t column = 0; column < width_; column += kPanel<T>) {
        Panels<T> to = transposed_state_;
        to.data += (part * width_ + column) * to.stride;
        Transpose(Rows<T>{state.At(part * value_width_, column), state.stride}, value_width_,
                  std::min(kPanel<T>, width_ - column), to);
      }
    }
    later = this->FromState(gradient_state_, keys_, width_, token, factors);
    later.state = transposed_state_;
    TakeOutside(later, tiles, value_width_, Panels<T>(dv));
  }

  const size_t state_rows_, phase_columns_;
  size_t scratch_size_;
  T *q_, *g_, *o_, *k_, *v_, *k_packed_, *k_transposed_, *v_transposed_, *dq_, *dk_, *dv_;
  T *factors_, *deltas_, *ones_;                         // r, d
  T *state_factors_ = nullptr, *key_factors_ = nullptr;  // of what rows read of a state
  Rows<T> scores_, score_gradients_, g_phases_, v_phases_;
  Rows<T> keys_, values_, queries_, grads_;  // of the chunk and the block at hand
  State<T> value_state_, gradient_state_;
  Panels<T> transposed_state_;
};

}  // namespace cosdt::attention::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
