// Products of float32 matrices on one thread, in vector instructions chosen at run time, for the
// linear layers of training and of acting: on Zen 4, tall and narrow ones run at 1.5 to 2 times
// the speed of the BLAS in LibTorch (cosdt bench train). They know nothing of LibTorch.
//
// For acting also with both factors rounded to bfloat16, sums in float32: faster where the
// processor has AVX-512 BF16 (cosdt bench eval), slower elsewhere.
//
// All sums of a row run in one order, whatever is computed beside it: a row's result does not
// depend on the number of rows or on its place among them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace cosdt::agents::kernels {

// Rows in memory are padded with zeros to whole panels of this many numbers.
inline constexpr int64_t kPanel = 16;
constexpr int64_t Padded(int64_t n) { return (n + kPanel - 1) / kPanel * kPanel; }

// Zeros on a cache line's boundary.
template <class T>
class Numbers {
 public:
  Numbers() = default;
  explicit Numbers(int64_t size)
      : size_(size), data_(new (std::align_val_t{64}) T[static_cast<size_t>(size)]()) {}

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  int64_t size() const { return size_; }

  // Keeps nothing of what was there.
  void Require(int64_t size) {
    if (size_ < size) *this = Numbers(size);
  }

 private:
  struct Delete {
    void operator()(T* p) const { operator delete[](p, std::align_val_t{64}); }
  };
  int64_t size_ = 0;
  std::unique_ptr<T[], Delete> data_;
};
using Floats = Numbers<float>;

// Two numbers in bfloat16, the first in the lower half.
using Pair = uint32_t;
constexpr int64_t Pairs(int64_t n) { return (n + 1) / 2; }

// Rows of `width` numbers, `stride` apart.
struct Rows {
  float* data = nullptr;
  ptrdiff_t stride = 0;
};

// A layer's weights: number (input, output) stands at panels[output / 16][input][output % 16], or
// in bfloat16 at pairs[output / 16][input / 2][output % 16], with a 0 behind an odd number of
// inputs.
struct Packed {
  int64_t inputs = 0;
  int64_t outputs = 0;  // padded
  Floats panels;        // one of the two is empty
  Numbers<Pair> pairs;
  Floats bias;  // [outputs]
};

// What becomes of a product y: y, to + y, or a function of y.
enum class Epilogue { kStore, kAdd, kRelu, kGelu, kEluPlusOne };

// to[row] = epilogue(bias + from[row] w) for the outputs [begin, end), multiples of 16; output
// `begin` goes to column 0. `bias` stands for w.bias. Where w is in bfloat16, `from` is rounded to
// it, to the nearest and of two the even one. The instructions for it take subnormal numbers as 0.
void Gemm(Rows from, int64_t rows, const Packed& w, const float* bias, int64_t begin, int64_t end,
          Epilogue epilogue, Rows to);

// to[i] += sum_n a[n][i] b[n], of n = 0 .. rows, for i in [begin, end): the gradient of weights.
// b and to have `columns` columns, a multiple of 16.
void AddTransposedProduct(Rows a, Rows b, int64_t rows, int64_t begin, int64_t end, int64_t columns,
                          Rows to);

// Whether this processor multiplies numbers in bfloat16 itself.
bool ProcessorHasBFloat16();

// The same, for tests to turn off.
extern bool use_bfloat16_instructions;

}  // namespace cosdt::agents::kernels
