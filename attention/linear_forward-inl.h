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

// Rows of a chunk whose scores are held at a time: the whole chunk up to the limit.
inline constexpr size_t kBlockRows = 48, kBlockLimit = 72;
// Longer chunks' rows are packed, because distant rows compete for the same places of the cache.
inline constexpr size_t kUnpackedRows = 96;

// A state: parts x width rows, and behind them the normaliser's.
template <class T>
struct State {
  T* data = nullptr;
  size_t rows = 0, columns = 0;  // rows in whole tiles

  size_t size() const { return PanelsOf<T>(columns) * kPanel<T> * rows; }
  Panels<T> panels() const { return Panels<T>(data, rows); }
  void Clear() const { std::memset(static_cast<void*>(data), 0, size() * sizeof(T)); }
  void CopyFrom(const T* from) const { std::memcpy(data, from, size() * sizeof(T)); }
  // Rows [begin, end) to a copy of the state.
  void CopyRows(size_t begin, size_t end, T* to) const {
    const Panels<T> from = panels(), copy(to, rows);
    for (size_t column = 0; column < columns; column += kPanel<T>) {
      std::memcpy(copy.At(begin, column), from.At(begin, column),
                  (end - begin) * kPanel<T> * sizeof(T));
    }
  }
};

// The part of a state's rows, in whole tiles, that one of several threads sums.
struct Slice {
  int64_t index = 0, count = 1;

  size_t Begin(size_t rows) const {
    const size_t tiles = rows / kTileRows, n = static_cast<size_t>(count);
    return tiles * static_cast<size_t>(index) / n * kTileRows;
  }
  size_t End(size_t rows) const { return Slice{index + 1, count}.Begin(rows); }
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
        block_rows_(chunk_rows_ <= kBlockLimit ? chunk_rows_ : kBlockRows),
        stateful_(plan.chunks() > 1) {}

 protected:
  void SetHead(int64_t head) {
    batch_ = head / problem_.heads;
    head_ = head % problem_.heads;
    row0_ = static_cast<size_t>(head * problem_.length);
    const auto* const weights = static_cast<const T*>(plan_.toeplitz(head_));
    weights_ = weights ? weights + plan_.reach() : nullptr;
    decays_ = static_cast<const T*>(plan_.decays(head_));
  }
  ptrdiff_t Offset(const Array& array, size_t token) const {
    return static_cast<ptrdiff_t>(batch_) * array.batch +
           static_cast<ptrdiff_t>(head_) * array.head + static_cast<ptrdiff_t>(token) * array.token;
  }
  bool IsReal(size_t token) const {
    return !problem_.mask || problem_.mask[static_cast<size_t>(batch_ * problem_.length) + token];
  }
  bool AreReal(size_t token, size_t n) const {
    return !problem_.mask ||
           !std::memchr(problem_.mask + static_cast<size_t>(batch_ * problem_.length) + token, 0,
                        n);
  }
  size_t ChunkBegin(int64_t chunk) const { return static_cast<size_t>(chunk * plan_.chunk()); }
  size_t ChunkLength(int64_t chunk) const {
    return static_cast<size_t>(std::min(plan_.chunk(), problem_.length - chunk * plan_.chunk()));
  }
  int64_t ChunksEnd(int64_t segment) const {
    return std::min((segment + 1) * plan_.chunks_per_segment(), plan_.chunks());
  }
  // Whether products may read or write n rows of an array as they are.
  bool Fits(size_t width, size_t n) const {
    return problem_.type != Type::kBFloat16 && width % kLanes<T> == 0 && n % kRowStep == 0;
  }
  Rows<T> Direct(const Array& array, size_t token) const {
    return {static_cast<T*>(array.data) + Offset(array, token), static_cast<size_t>(array.token)};
  }
  // Rows of n tokens from `token` on, with features; zeros at padding if `masked`. They are copied
  // to `scratch`, and there followed by zeros up to whole tiles, if they do not lie there already.
  Rows<T> Load(const Array& array, size_t width, Features features, bool masked, size_t token,
               size_t n, T* scratch) const {
    if (Fits(width, n) && features == Features::kIdentity && (!masked || AreReal(token, n))) {
      return Direct(array, token);
    }
    const Rows<T> rows{scratch, Padded<T>(width)};
    for (size_t i = 0; i < n; ++i) {
      if (masked && !IsReal(token + i)) {
        ClearRows(rows, i, i + 1);
      } else {
        const T* x = Direct(array, token)[i];
        if (!Fits(width, 0)) {
          LoadRow(array, problem_.type, Offset(array, token + i), width, rows[i]);
          x = rows[i];
        }
        MapFeatures(features, width, x, rows[i]);
      }
    }
    ClearRows(rows, n, RoundUp(n, kRowStep));
    return rows;
  }
  Rows<T> LoadKeys(size_t token, size_t n, T* scratch) const {
    return Load(problem_.k, width_, problem_.features, true, token, n, scratch);
  }
  Rows<T> LoadValues(size_t token, size_t n, T* scratch) const {
    return Load(problem_.v, value_width_, Features::kIdentity, true, token, n, scratch);
  }
  Rows<T> LoadQueries(size_t token, size_t n, T* scratch) const {
    return Load(problem_.q, width_, problem_.features, false, token, n, scratch);
  }
  // A chunk's rows as the right side of products.
  Panels<T> AsPanels(const Rows<T>& rows, size_t n, size_t columns, T* packed) const {
    if (chunk_rows_ <= kUnpackedRows) return Panels<T>(rows);
    const Panels<T> panels(packed, chunk_rows_);
    PackPanels(rows, RoundUp(n, kRowStep), columns, panels);
    return panels;
  }
  // Room for AsPanels.
  size_t PackedSize(size_t columns) const {
    return chunk_rows_ <= kUnpackedRows ? 0 : PanelsOf<T>(columns) * kPanel<T> * chunk_rows_;
  }
  // Room for a transposed chunk.
  size_t TransposedSize(size_t columns) const {
    return PanelsOf<T>(chunk_rows_) * kPanel<T> * columns;
  }
  // Where results for n tokens are written: in place, or to `scratch`, from which Store takes them.
  Rows<T> Output(const Array& array, size_t width, size_t token, size_t n, T* scratch) const {
    return Fits(width, n) ? Direct(array, token) : Rows<T>{scratch, Padded<T>(width)};
  }
  void Store(const Rows<T>& rows, const T* scratch, size_t width, size_t token, size_t n,
             const Array& array) const {
    if (rows.data != scratch) return;
    for (size_t i = 0; i < n; ++i) {
      StoreRow(rows[i], T{1}, width, array, problem_.type, Offset(array, token + i));
    }
  }
  // The factor of the sums: 1 / max(normaliser, eps), written so that a NaN stays one.
  T Reciprocal(T sum) const {
    const T eps = static_cast<T>(problem_.eps);
    return T{1} / (sum < eps ? eps : sum);
  }
  const T* Cosines(size_t token) const { return static_cast<const T*>(plan_.cosine()) + token; }
  const T* Sines(size_t token) const { return static_cast<const T*>(plan_.sine()) + token; }

  // The head's decay over a chunk, from its begin to its i-th token, and from there to its end.
  T ChunkDecay() const { return decays_ ? decays_[plan_.chunk()] : T{1}; }
  T DecayFromBegin(size_t i) const { return decays_ ? decays_[i] : T{1}; }
  T DecayToEnd(size_t i) const {
    return decays_ ? decays_[static_cast<size_t>(plan_.chunk()) - i] : T{1};
  }
  T CosineOf(size_t token) const { return parts_ == 2 ? *Cosines(token) : T{1}; }

  // factor x at both phases of a token side by side, or once without M.
  void AtPhases(const T* x, T factor, size_t n, size_t token, T* to) const {
    if (parts_ == 1) {
      ScaleTo(x, factor, n, to);
      return;
    }
    ScaleTo(x, factor * *Cosines(token), n, to);
    ScaleTo(x, factor * *Sines(token), n, to + n);
  }
  // The state's contribution to a chunk's rows from `token` on; `factor` stands for the cosines
  // if it is given.
  Outside<T> FromState(const State<T>& state, const Rows<T>& rows, size_t steps, size_t token,
                       const T* factor) const {
    Outside<T> outside{.a = rows, .state = state.panels(), .steps = steps, .parts = parts_};
    outside.factor = factor;
    if (parts_ == 2) {
      outside.tangent = static_cast<const T*>(plan_.tangent()) + token;
      if (!factor) outside.factor = Cosines(token);
    }
    return outside;
  }
  static void ClearRows(const Rows<T>& rows, size_t begin, size_t end) {
    if (end > begin) {
      std::memset(static_cast<void*>(rows[begin]), 0, (end - begin) * rows.stride * sizeof(T));
    }
  }

  const Plan& plan_;
  const Problem& problem_;
  const size_t width_, value_width_, parts_, padded_width_, padded_value_width_;
  const size_t chunk_rows_, chunk_columns_, block_rows_;
  const bool stateful_;
  const T* weights_ = nullptr;  // of the head, at distance 0
  const T* decays_ = nullptr;
  int64_t batch_ = 0, head_ = 0;
  size_t row0_ = 0;  // of the head in the normaliser
};

template <class T>
class ForwardKernel : HeadKernel<T> {
 public:
  explicit ForwardKernel(const Plan& plan)
      : HeadKernel<T>(plan), phase_columns_(Padded<T>(RoundUp(parts_ * width_, kTileRows))) {
    state_.rows = RoundUp(parts_ * width_, kTileRows);
    state_.columns = value_width_;
    static thread_local Scratch scratch;
    scratch.Fit([this](Scratch& s) {
      q_ = s.template Take<T>(block_rows_ * padded_width_);
      k_ = s.template Take<T>(chunk_rows_ * padded_width_);
      v_ = s.template Take<T>(chunk_rows_ * padded_value_width_);
      k_transposed_ = s.template Take<T>(this->TransposedSize(padded_width_));
      v_packed_ = s.template Take<T>(this->PackedSize(value_width_));
      scores_ = {s.template Take<T>(block_rows_ * chunk_columns_), chunk_columns_};
      out_ = s.template Take<T>(block_rows_ * padded_value_width_);
      factors_ = s.template Take<T>(block_rows_);
      if (!stateful_) return;
      state_factors_ = s.template Take<T>(block_rows_);
      k_phases_ = {s.template Take<T>(chunk_rows_ * phase_columns_), phase_columns_};
      // the sums of phi(k) v^T and behind them those of phi(k)
      state_.data = s.template Take<T>(StateSize());
    });
    scratch_size_ = scratch.size();
    if (stateful_) this->ClearRows(k_phases_, 0, chunk_rows_);
  }

  size_t StateSize() const { return state_.size() + phase_columns_; }
  size_t ScratchSize() const { return scratch_size_; }

  void Head(int64_t head) {
    this->SetHead(head);
    if (stateful_) ClearState();
    Chunks(0, plan_.chunks());
  }

  // One segment of a head after the sums over those before it.
  void Segment(int64_t head, int64_t segment, const T* before) {
    this->SetHead(head);
    std::memcpy(state_.data, before, StateSize() * sizeof(T));
    Chunks(segment * plan_.chunks_per_segment(), this->ChunksEnd(segment));
  }

  // The sums before each of a head's segments, the slice's rows of them; `states` has those of the
  // head.
  void SumStates(int64_t head, const Slice& slice, T* states) {
    this->SetHead(head);
    ClearState();
    const size_t begin = slice.Begin(state_.rows), end = slice.End(state_.rows);
    for (int64_t segment = 0; segment < plan_.segments(); ++segment) {
      T* const to = states + static_cast<size_t>(segment) * StateSize();
      state_.CopyRows(begin, end, to);
      if (slice.index == 0) std::copy_n(Normalizers(), phase_columns_, to + state_.size());
      if (segment + 1 == plan_.segments()) return;
      for (int64_t chunk = segment * plan_.chunks_per_segment(); chunk < this->ChunksEnd(segment);
           ++chunk) {
        const size_t token = this->ChunkBegin(chunk), n = this->ChunkLength(chunk);
        LoadChunk(token, n);
        AddChunk(token, n, begin, end);
      }
    }
  }

 private:
  using HeadKernel<T>::plan_, HeadKernel<T>::problem_, HeadKernel<T>::width_,
      HeadKernel<T>::value_width_, HeadKernel<T>::parts_, HeadKernel<T>::padded_width_,
      HeadKernel<T>::padded_value_width_, HeadKernel<T>::chunk_rows_, HeadKernel<T>::chunk_columns_,
      HeadKernel<T>::block_rows_, HeadKernel<T>::stateful_;

  T* Normalizers() const { return state_.data + state_.size(); }
  void ClearState() { std::memset(static_cast<void*>(state_.data), 0, StateSize() * sizeof(T)); }

  void Chunks(int64_t first, int64_t last) {
    for (int64_t chunk = first; chunk < last; ++chunk) {
      const size_t begin = this->ChunkBegin(chunk), n = this->ChunkLength(chunk);
      LoadChunk(begin, n);
      Transpose(keys_, n, width_, KeysTransposed());
      for (size_t row = 0; row < n; row += block_rows_) {
        Block(begin, row, std::min(block_rows_, n - row));
      }
      if (chunk + 1 < last) AddChunk(begin, n, 0, state_.rows);
    }
  }

  Panels<T> KeysTransposed() const { return Panels<T>(k_transposed_, padded_width_); }

  void LoadChunk(size_t begin, size_t n) {
    keys_ = this->LoadKeys(begin, n, k_);
    values_ = this->AsPanels(this->LoadValues(begin, n, v_), n, value_width_, v_packed_);
  }

  // Adds a chunk to rows [begin, end) of the state and to the normaliser's.
  void AddChunk(size_t token, size_t n, size_t begin, size_t end) {
    for (size_t j = 0; j < n; ++j) {
      this->AtPhases(keys_[j], this->DecayToEnd(j), width_, token + j, k_phases_[j]);
    }
    AddTransposedTimes(k_phases_, values_, begin, end, value_width_, n, this->ChunkDecay(),
                       state_.panels());
    AddRows(k_phases_.data, phase_columns_, n, this->ChunkDecay(), Normalizers());
  }

  // Rows [first, first + rows) of the chunk that begins at token `begin`.
  void Block(size_t begin, size_t first, size_t rows) {
    const size_t token = begin + first;
    const Rows<T> q = this->LoadQueries(token, rows, q_);
    Scores(q, KeysTransposed(), first, rows, width_, ScoreTerms<T>{.weights = this->weights_},
           scores_.data, chunk_columns_);
    Outside<T> before;
    if (begin > 0)
      before = this->FromState(state_, q, width_, token, StateFactors(token, first, rows));
    if (problem_.normalize) Normalize(q, begin, first, rows);
    const Rows<T> out = this->Output(problem_.out, value_width_, token, rows, out_);
    ScoresTimes(scores_, first, values_, before, problem_.normalize ? factors_ : nullptr, rows,
                value_width_, Panels<T>(out));
    this->Store(out, out_, value_width_, token, rows, problem_.out);
  }

  // The factors of a block's rows for what they read of the state; null: the cosines alone.
  const T* StateFactors(size_t token, size_t first, size_t rows) {
    if (!this->decays_) return nullptr;
    for (size_t i = 0; i < RoundUp(rows, kTileRows); ++i) {
      state_factors_[i] = this->CosineOf(token + i) * this->DecayFromBegin(first + i);
    }
    return state_factors_;
  }

  // The rows' normalisers and factors.
  void Normalize(const Rows<T>& q, size_t begin, size_t first, size_t rows) {
    auto* const normalizer = static_cast<T*>(problem_.normalizer) + this->row0_ + begin + first;
    for (size_t i = 0; i < rows; ++i) {
      T sum = Sum(scores_[i], first + i + 1);
      if (begin > 0) {
        T before = Dot(q[i], Normalizers(), width_);
        if (parts_ == 2) {
          const size_t token = begin + first + i;
          before = before * *this->Cosines(token) +
                   Dot(q[i], Normalizers() + width_, width_) * *this->Sines(token);
        }
        sum += before * this->DecayFromBegin(first + i);
      }
      normalizer[i] = sum;
      factors_[i] = this->Reciprocal(sum);
    }
    for (size_t i = rows; i < RoundUp(rows, kTileRows); ++i) factors_[i] = 0;
  }

  const size_t phase_columns_;
  size_t scratch_size_;
  T *q_, *k_, *v_, *k_transposed_, *v_packed_, *out_, *factors_, *state_factors_ = nullptr;
  Rows<T> scores_, k_phases_, keys_;
  Panels<T> values_;
  State<T> state_;
};

}  // namespace cosdt::attention::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
