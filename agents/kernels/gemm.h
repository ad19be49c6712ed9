// Products of float32 matrices on one thread, in vector instructions chosen at run time, for the
// linear layers of training and evaluation: on Zen 4, tall and narrow ones run at 1.5 to 2 times
// the speed of the BLAS in LibTorch (cosdt bench train). They do not depend on LibTorch.
//
// Also with both factors rounded to bfloat16 and sums in float32, on processors with AVX-512 BF16.
//
// A row is summed in the same order whatever else is computed: its result does not depend on the
// number of rows or on its place among them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace cosdt::agents::kernels {

// Rows in memory are padded with zeros to whole panels of this many elements.
inline constexpr int64_t kPanel = 16;
constexpr int64_t Padded(int64_t n) { return (n + kPanel - 1) / kPanel * kPanel; }

// Memory that begins at a cache line and is zero at first.
template <class T>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(int64_t size)
      : size_(size), data_(new (std::align_val_t{64}) T[static_cast<size_t>(size)]()) {}

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  int64_t size() const { return size_; }

  // Grows if it is smaller; then all is zero.
  void Require(int64_t size) {
    if (size_ < size) *this = AlignedBuffer(size);
  }

 private:
  struct Delete {
    void operator()(T* p) const { operator delete[](p, std::align_val_t{64}); }
  };
  int64_t size_ = 0;
  std::unique_ptr<T[], Delete> data_;
};
using Floats = AlignedBuffer<float>;

// Two bfloat16 values, the first one in the lower half.
using Pair = uint32_t;
constexpr int64_t Pairs(int64_t n) { return (n + 1) / 2; }

// Rows that begin `stride` elements apart.
struct Rows {
  float* data = nullptr;
  ptrdiff_t stride = 0;
};

// A layer's weights: element (input, output) is panels[output / 16][input][output % 16], or in
// bfloat16 half of pairs[output / 16][input / 2][output % 16], with a 0 behind an odd number of
// inputs.
struct Packed {
  int64_t inputs = 0;
  int64_t outputs = 0;  // padded
  Floats panels;        // one of the two is empty
  AlignedBuffer<Pair> pairs;
  Floats bias;  // [outputs]
};

// Packs row-major weights [rows, columns] as the right-hand side of x weight^T (`transposed`:
// columns are inputs, rows are outputs) or of x weight (rows are inputs, columns are outputs).
// Outputs are padded with zeros. Reuses the memory of `to`, and leaves its bias alone.
void PackWeights(const float* weight, int64_t rows, int64_t columns, bool transposed, bool bfloat16,
                 Packed& to);

// The value written for a product y: y, to + y, a function of y, or relu's gradient: y if to > 0,
// else 0.
enum class Epilogue { kStore, kAdd, kRelu, kGelu, kEluPlusOne, kReluGradient };

// to[row] = epilogue(bias + from[row] w) for the outputs [begin, end), multiples of 16; output
// `begin` goes to column 0. `bias` takes the place of w.bias. With w in bfloat16, which needs
// ProcessorHasBFloat16, `from` is rounded to the nearest bfloat16, ties to even; subnormal values
// count as 0.
void Gemm(Rows from, int64_t rows, const Packed& w, const float* bias, int64_t begin, int64_t end,
          Epilogue epilogue, Rows to);

// to[i] += sum over n = 0 .. rows - 1 of a[n][i] b[n], for i in [begin, end): the gradient of
// weights. b and to have `columns` columns, a multiple of 16.
void AddTransposedProduct(Rows a, Rows b, int64_t rows, int64_t begin, int64_t end, int64_t columns,
                          Rows to);

// The same with a and b rounded to bfloat16; needs ProcessorHasBFloat16.
void AddTransposedProductBFloat16(Rows a, Rows b, int64_t rows, int64_t begin, int64_t end,
                                  int64_t columns, Rows to);

// gradient *= the slope of relu or ELU + 1 (kRelu, kEluPlusOne), which follows from its value.
void MulActivationSlopes(Epilogue activation, Rows value, int64_t rows, int64_t columns,
                         Rows gradient);

// sums[i] += the sum of x's column i over all rows, for the first `columns` columns.
void AddColumnSums(Rows x, int64_t rows, int64_t columns, float* sums);

// This thread's rate of bfloat16 dot products on registers, in FLOP/s; 0 without AVX-512 BF16.
double MeasureBFloat16PeakFlops();

// Whether this processor has AVX-512 BF16.
bool ProcessorHasBFloat16();

// Whether it makes more multiply-adds per cycle in bfloat16 than in float32. AMD's do (Zen 4 and
// Zen 5); a Xeon (Emerald Rapids) makes half as many (cosdt bench train).
bool BFloat16IsFaster();

// Whether it has AMX with bfloat16, which LibTorch's products use.
bool ProcessorHasAmx();

}  // namespace cosdt::agents::kernels
