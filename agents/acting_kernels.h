// CPU kernels for acting: products with packed weights, LayerNorm, and attention over a memory, in
// vector instructions chosen at run time. They know nothing of LibTorch; acting_model.h is what
// uses them.
//
// All sums of a row run in one order, whatever is computed beside it: a row's result does not
// depend on the number of rows or on its place among them. Everything is float32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace cosdt::agents::acting {

// Rows in memory are padded with zeros to whole panels of this many numbers.
inline constexpr int64_t kPanel = 16;
constexpr int64_t Padded(int64_t n) { return (n + kPanel - 1) / kPanel * kPanel; }

// Zeros on a cache line's boundary.
class Floats {
 public:
  Floats() = default;
  explicit Floats(int64_t size)
      : size_(size), data_(new (std::align_val_t{64}) float[static_cast<size_t>(size)]()) {}

  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }
  int64_t size() const { return size_; }

  // Keeps nothing of what was there.
  void Require(int64_t size) {
    if (size_ < size) *this = Floats(size);
  }

 private:
  struct Delete {
    void operator()(float* p) const { operator delete[](p, std::align_val_t{64}); }
  };
  int64_t size_ = 0;
  std::unique_ptr<float[], Delete> data_;
};

// Rows of `width` numbers, `stride` apart.
struct Rows {
  float* data = nullptr;
  ptrdiff_t stride = 0;
};

// A layer's weights: number (input, output) stands at panels[output / 16][input][output % 16].
struct Packed {
  int64_t inputs = 0;
  int64_t outputs = 0;  // padded
  Floats panels;
  Floats bias;  // [outputs]
};

// What becomes of a product y: y, to + y, or a function of y.
enum class Then { kStore, kAdd, kRelu, kGelu, kEluPlusOne };

// to[row] = then(bias + from[row] w) for the outputs [begin, end), multiples of 16; output `begin`
// goes to column 0. `bias` stands for w.bias.
void Multiply(Rows from, int64_t rows, const Packed& w, const float* bias, int64_t begin,
              int64_t end, Then then, Rows to);

// to[row] = LayerNorm(from[row]) gamma + beta; the padding becomes 0. May be in place.
void Normalize(Rows from, int64_t rows, int64_t width, const float* gamma, const float* beta,
               float epsilon, Rows to);

// One layer's memory of one row's tokens: the latest ones with their keys and values, and of those
// before them sums, from which linear kinds go on.
inline constexpr int64_t kRecent = 64;  // tokens in a block of keys
struct Memory {
  int64_t heads = 1, width = 1;     // of a head; its columns begin at multiples of Padded(width)
  int64_t length = 0;               // of the latest tokens; linear kinds: at most kRecent
  const float* keys = nullptr;      // [length / kRecent][columns][kRecent]: token by token in a row
  const float* values = nullptr;    // [length][columns]
  const float* sums = nullptr;      // [heads][parts][width][Padded(width)], or null
  const float* key_sums = nullptr;  // [heads][parts][width]
  int64_t columns() const { return heads * Padded(width); }
};

// Causal attention of the last `count` tokens of a memory, whose queries q holds, to its tokens up
// to their own. Linear kinds, q and keys being features:
//   out_i = sum_j w_ij (q_i . k_j) v_j / max(sum_j w_ij (q_i . k_j), epsilon)
// w_ij is weights[j - i], for |j - i| < kRecent and 0 beyond the diagonal; the sums' parts, one or
// two, are weighted with the numbers of phases [count][parts].
void AttendLinear(const Memory& memory, const float* weights, const float* phases, int64_t parts,
                  float epsilon, Rows q, int64_t count, Rows out);

// The same for softmax(q_i . k_j), where q is already divided by the root of the width.
void AttendSoftmax(const Memory& memory, Rows q, int64_t count, Rows out);

// sums += sum_j phases[part][j] k_j v_j over the memory's latest tokens, key_sums likewise.
// phases [parts][kRecent] is 0 from `length` on.
void Fold(const Memory& memory, const float* phases, int64_t parts, float* sums, float* key_sums);

}  // namespace cosdt::agents::acting
