// Forward pass of causal linear attention with cosine weights. Included once for every instruction
// set.
#if defined(COSDT_ATTENTION_LINEAR_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef COSDT_ATTENTION_LINEAR_FORWARD_INL_H_
#undef COSDT_ATTENTION_LINEAR_FORWARD_INL_H_
#else
#define COSDT_ATTENTION_LINEAR_FORWARD_INL_H_
#endif

#include "attention/tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cosdt::attention::kernels::HWY_NAMESPACE {

// Rows of a chunk whose scores are held at a time.
inline constexpr size_t kBlockRows = 48;

// A state is kept in up to three copies: what the segment has added so far (`local`), what came
// before the segment (`base`), and their sum, which the products read (`use`). Only heads with
// several segments need more than the first.
template <class T>
struct State {
  T* local = nullptr;
  T* base = nullptr;
  T* use = nullptr;
  size_t size = 0;

  void Take(Scratch& scratch, size_t n, bool segmented) {
    size = n;
    local = scratch.Take<T>(n);
    base = segmented ? scratch.Take<T>(n) : nullptr;
    use = segmented ? scratch.Take<T>(n) : local;
  }
  void Clear(T* what) const { std::memset(static_cast<void*>(what), 0, size * sizeof(T)); }
  // At the beginning of a segment, with `base` set.
  void BeginSegment() const {
    Clear(local);
    if (base) std::memcpy(use, base, size * sizeof(T));
  }
  // After a chunk was added to `local`.
  void Refresh() const {
    if (base) AddInto(local, base, size, use);
  }
  // At the end of a segment that another one follows.
  void EndSegment() const {
    if (base) AddTo(local, size, base);
  }
};

// The base of forward and backward: sizes, the head at hand, and the rows' loading.
template <class T>
class HeadKernel {
 public:
  explicit HeadKernel(const Plan& plan)
      : plan_(plan),
        problem_(plan.problem()),
        width_(static_cast<size_t>(problem_.width)),
        value_width_(static_cast<size_t>(problem_.value_width)),
        parts_(problem_.reweight_length > 0 ? 2 : 1),
        padded_width_(Padded<T>(width_)),
        padded_value_width_(Padded<T>(value_width_)),
        chunk_rows_(RoundUp(static_cast<size_t>(plan.chunk()), kRowStep)),
        chunk_columns_(Padded<T>(chunk_rows_)),
        weights_(problem_.reweight_length > 0
                     ? static_cast<const T*>(plan.toeplitz()) + plan.reach()
                     : nullptr) {}

 protected:
  void SetHead(int64_t head) {
    batch_ = head / problem_.heads;
    head_ = head % problem_.heads;
    row0_ = static_cast<size_t>(head * problem_.length);
  }
  ptrdiff_t Offset(const Array& array, size_t token) const {
    return static_cast<ptrdiff_t>(batch_) * array.batch +
           static_cast<ptrdiff_t>(head_) * array.head + static_cast<ptrdiff_t>(token) * array.token;
  }
  bool IsReal(size_t token) const {
    return !problem_.mask || problem_.mask[static_cast<size_t>(batch_ * problem_.length) + token];
  }
  size_t ChunkBegin(int64_t chunk) const { return static_cast<size_t>(chunk * plan_.chunk()); }
  size_t ChunkLength(int64_t chunk) const {
    return static_cast<size_t>(std::min(plan_.chunk(), problem_.length - chunk * plan_.chunk()));
  }
  // Features of q or k at a token; zeros if it is padding and `masked`.
  void LoadFeatures(const Array& array, size_t token, bool masked, T* to) const {
    if (masked && !IsReal(token)) {
      std::memset(static_cast<void*>(to), 0, padded_width_ * sizeof(T));
      return;
    }
    LoadRow(array, problem_.type, Offset(array, token), width_, to);
    MapFeatures(problem_.features, width_, to);
  }
  // A token's v; zeros if it is padding.
  void LoadValue(size_t token, T* to) const {
    if (IsReal(token)) {
      LoadRow(problem_.v, problem_.type, Offset(problem_.v, token), value_width_, to);
    } else {
      std::memset(static_cast<void*>(to), 0, padded_value_width_ * sizeof(T));
    }
  }
  // The transpose of a chunk's n rows, with zeros up to whole tiles and vectors.
  void TransposeChunk(const T* rows, size_t stride, size_t n, size_t columns, T* to) const {
    Transpose(rows, stride, n, columns, to, chunk_columns_);
    const size_t end = Padded<T>(RoundUp(n, kRowStep));
    for (size_t c = RoundUp(n, 4); c < end; ++c) {
      for (size_t p = 0; p < columns; ++p) to[p * chunk_columns_ + c] = 0;
    }
  }
  // Calls body(first token, tokens, is the last) for a segment's chunks.
  template <class Body>
  void ForChunks(int64_t segment, const Body& body) const {
    const int64_t first = segment * plan_.chunks_per_segment();
    const int64_t last = std::min(first + plan_.chunks_per_segment(), plan_.chunks());
    for (int64_t chunk = first; chunk < last; ++chunk) {
      body(ChunkBegin(chunk), ChunkLength(chunk), chunk + 1 == last);
    }
  }
  // The factor of the sums: 1 / max(normaliser, eps), written so that a NaN stays one.
  T Reciprocal(T sum) const {
    const T eps = static_cast<T>(problem_.eps);
    return T{1} / (sum < eps ? eps : sum);
  }

  // x at both phases of a token side by side, or x alone without M. `to` is zero-padded to whole
  // vectors when it is allocated.
  void AtPhases(const T* x, size_t n, size_t token, T* to) const {
    if (parts_ == 1) {
      ScaleTo(x, T{1}, n, to);
      return;
    }
    ScaleTo(x, static_cast<const T*>(plan_.cosine())[token], n, to);
    ScaleTo(x, static_cast<const T*>(plan_.sine())[token], n, to + n);
  }
  static void ClearRows(T* rows, size_t stride, size_t begin, size_t end) {
    if (end > begin) {
      std::memset(static_cast<void*>(rows + begin * stride), 0, (end - begin) * stride * sizeof(T));
    }
  }

  const Plan& plan_;
  const Problem& problem_;
  const size_t width_, value_width_, parts_, padded_width_, padded_value_width_;
  const size_t chunk_rows_, chunk_columns_;
  const T* const weights_;
  int64_t batch_ = 0, head_ = 0;
  size_t row0_ = 0;  // of the head in the normaliser
};

template <class T>
class ForwardKernel : HeadKernel<T> {
 public:
  explicit ForwardKernel(const Plan& plan)
      : HeadKernel<T>(plan),
        stateful_(plan.chunks() > 1),
        state_rows_(RoundUp(parts_ * width_, kTileRows)),
        phase_columns_(Padded<T>(state_rows_)) {
    static thread_local Scratch scratch;
    scratch.Fit([this](Scratch& s) {
      const size_t w = padded_width_, vw = padded_value_width_;
      q_ = s.template Take<T>(kBlockRows * w);
      k_ = s.template Take<T>(chunk_rows_ * w);
      k_transposed_ = s.template Take<T>(w * chunk_columns_);
      v_ = s.template Take<T>(chunk_rows_ * vw);
      scores_ = s.template Take<T>(kBlockRows * chunk_columns_);
      out_ = s.template Take<T>(kBlockRows * vw);
      if (!stateful_) return;
      q_phases_ = s.template Take<T>(kBlockRows * phase_columns_);
      k_phases_ = s.template Take<T>(chunk_rows_ * phase_columns_);
      // the sums of phi(k) v^T and behind them those of phi(k)
      state_.Take(s, StateSize(), plan_.segments() > 1);
    });
    scratch_size_ = scratch.size();
    if (!stateful_) return;
    this->ClearRows(q_phases_, phase_columns_, 0, kBlockRows);
    this->ClearRows(k_phases_, phase_columns_, 0, chunk_rows_);
  }

  size_t StateSize() const { return state_rows_ * padded_value_width_ + phase_columns_; }

  size_t ScratchSize() const { return scratch_size_; }

  void Head(int64_t head) {
    this->SetHead(head);
    if (state_.base) state_.Clear(state_.base);
    for (int64_t segment = 0; segment < plan_.segments(); ++segment) {
      Segment(segment);
      if (segment + 1 < plan_.segments()) state_.EndSegment();
    }
  }

  // One segment of a head after the sums over those before it.
  void Segment(int64_t head, int64_t segment, const T* before) {
    this->SetHead(head);
    std::memcpy(state_.base, before, StateSize() * sizeof(T));
    Segment(segment);
  }

  // The segment's contribution to the state.
  void SumSegment(int64_t head, int64_t segment, T* to) {
    this->SetHead(head);
    state_.BeginSegment();
    this->ForChunks(segment, [this](size_t begin, size_t n, bool) HWY_ATTR {
      LoadKeys(begin, n);
      AddChunk(n);
    });
    std::memcpy(to, state_.local, StateSize() * sizeof(T));
  }

 private:
  using HeadKernel<T>::plan_, HeadKernel<T>::problem_, HeadKernel<T>::width_,
      HeadKernel<T>::value_width_, HeadKernel<T>::parts_, HeadKernel<T>::padded_width_,
      HeadKernel<T>::padded_value_width_, HeadKernel<T>::chunk_rows_, HeadKernel<T>::chunk_columns_;

  void Segment(int64_t segment) {
    if (stateful_) state_.BeginSegment();
    const bool last_segment = segment + 1 == plan_.segments();
    this->ForChunks(segment, [&](size_t begin, size_t n, bool last) HWY_ATTR {
      LoadKeys(begin, n);
      this->TransposeChunk(k_, padded_width_, n, width_, k_transposed_);
      for (size_t first = 0; first < n; first += kBlockRows) {
        Block(begin, first, std::min(kBlockRows, n - first));
      }
      if (!stateful_ || (last && last_segment)) return;
      AddChunk(n);
      state_.Refresh();
    });
  }

  void LoadKeys(size_t begin, size_t n) {
    for (size_t j = 0; j < n; ++j) {
      this->LoadFeatures(problem_.k, begin + j, true, k_ + j * padded_width_);
      if (stateful_) {
        this->AtPhases(k_ + j * padded_width_, width_, begin + j, k_phases_ + j * phase_columns_);
      }
      this->LoadValue(begin + j, v_ + j * padded_value_width_);
    }
    this->ClearRows(k_, padded_width_, n, RoundUp(n, kRowStep));
    this->ClearRows(v_, padded_value_width_, n, RoundUp(n, kRowStep));
  }

  void AddChunk(size_t n) {
    Product<true, true>(k_phases_, phase_columns_, v_, padded_value_width_, state_rows_,
                        padded_value_width_, n, state_.local, padded_value_width_);
    T* const normalizers = state_.local + state_rows_ * padded_value_width_;
    for (size_t j = 0; j < n; ++j) {
      AddTo(k_phases_ + j * phase_columns_, phase_columns_, normalizers);
    }
  }

  // Rows [first, first + rows) of the chunk that begins at token `begin`.
  void Block(size_t begin, size_t first, size_t rows) {
    const size_t tiles = RoundUp(rows, kTileRows);
    for (size_t i = 0; i < rows; ++i) {
      T* const q = q_ + i * padded_width_;
      this->LoadFeatures(problem_.q, begin + first + i, false, q);
      if (stateful_) {
        this->AtPhases(q, width_, begin + first + i, q_phases_ + i * phase_columns_);
      }
    }
    this->ClearRows(q_, padded_width_, rows, tiles);
    WeightedScores(q_, padded_width_, k_transposed_, chunk_columns_, first, rows, width_,
                   this->weights_, scores_, chunk_columns_);
    ScoresTimes(scores_, chunk_columns_, first, v_, padded_value_width_, q_phases_, phase_columns_,
                state_.use, padded_value_width_, stateful_ ? parts_ * width_ : 0, rows,
                padded_value_width_, out_, padded_value_width_);
    auto* const normalizer = static_cast<T*>(problem_.normalizer) + this->row0_ + begin + first;
    for (size_t i = 0; i < rows; ++i) {
      T factor = 1;
      if (problem_.normalize) {
        T sum = Sum(scores_ + i * chunk_columns_, first + i + 1);
        if (stateful_) {
          sum += Dot(q_phases_ + i * phase_columns_, state_.use + state_rows_ * padded_value_width_,
                     phase_columns_);
        }
        normalizer[i] = sum;
        factor = this->Reciprocal(sum);
      }
      StoreRow(out_ + i * padded_value_width_, factor, value_width_, problem_.out, problem_.type,
               this->Offset(problem_.out, begin + first + i));
    }
  }

  const bool stateful_;
  size_t scratch_size_;
  const size_t state_rows_, phase_columns_;
  T *q_, *k_, *k_transposed_, *v_, *scores_, *out_, *q_phases_ = nullptr, *k_phases_ = nullptr;
  State<T> state_;
};

}  // namespace cosdt::attention::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
