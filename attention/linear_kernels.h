// CPU kernels of causal linear attention with cosine weights, forward and backward: plain pointers,
// no LibTorch, no threads. A Plan cuts the work into items the same way whatever the number of
// threads; the caller hands ranges of items to its own threads, and the results' bits do not depend
// on how. Formulas, structure and measurements: attention/README.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace cosdt::attention::kernels {

enum class Type { kFloat32, kBFloat16, kFloat64 };  // sums: float32, float32, float64
enum class Features { kIdentity, kRelu, kEluPlusOne };

// [batch, heads, length, width] with strides in elements; the last dimension is contiguous.
struct Array {
  void* data = nullptr;
  ptrdiff_t batch = 0, head = 0, token = 0;
};

struct Problem {
  Type type = Type::kFloat32;
  Features features = Features::kRelu;
  int64_t batch = 1, heads = 1, length = 1, width = 1, value_width = 1;
  int64_t reweight_length = 0;  // M of the cosine weights; 0: all weights are 1
  bool normalize = true;
  double eps = 1e-6;
  double half_life = 0;      // of weights in the first head, in tokens (linear_form.h); CPU only
  bool one_product = false;  // CUDA kernels in float32: plain tf32 in place of three products of it

  Array q, k, v;               // inputs
  const bool* mask = nullptr;  // [batch, length], true at real tokens; null: all are real
  Array out;                   // forward writes it, backward reads it
  void* normalizer = nullptr;  // [batch, heads, length] in the sums' type; likewise
  Array grad_out;              // backward only, like the following
  Array grad_q, grad_k, grad_v;
};

enum class Pass { kForward, kBackward };

// How one pass over a problem is cut. Lengths up to the quadratic form's limit are one chunk;
// longer ones are chunks with a state between them. If there are few heads, runs of chunks form
// segments, which can be computed in parallel if the states between them are summed before.
class Plan {
 public:
  // `chunk` overrides the dispatch rule (benchmarks and tests): 0 chooses.
  Plan(const Problem& problem, Pass pass, int64_t chunk = 0);

  // The work comes as heads, whose segments are computed one after the other..
  int64_t heads() const { return problem_.batch * problem_.heads; }
  // ..or, with at least two segments per head, (head, segment) pairs in three steps.
  int64_t segments() const { return segments_; }
  int64_t chunk() const { return chunk_; }

  // Computes whole heads [begin, end).
  void RunHeads(int64_t begin, int64_t end) const;

  // The same results, bit for bit, with segments in parallel. `states` holds state_size() bytes.
  // The first step is complete before the second begins: 1. the states between segments, of which
  // each head's rows are cut into slices, items [begin, end) of heads() slices; 2. outputs of items
  // [begin, end) of heads() segments().
  size_t state_size() const;
  void SumStates(int64_t begin, int64_t end, int64_t slices, void* states) const;
  void RunSegments(int64_t begin, int64_t end, void* states) const;

  // Bytes of the scratch that each thread keeps and of the plan's own tables.
  size_t scratch_size() const;

  // For the kernels.
  const Problem& problem() const { return problem_; }
  Pass pass() const { return pass_; }
  int64_t chunks() const { return chunks_; }
  int64_t chunks_per_segment() const { return chunks_per_segment_; }
  // The weight w_ij in a head of [0, heads): entry reach() + j - i, for |i - j| < reach(); null if
  // all are 1.
  const void* toeplitz(int64_t head) const { return OfHead(toeplitz_, head); }
  // The head's decay to the powers [0, chunk()] and a tile of rows beyond; null without a state or
  // decay.
  const void* decays(int64_t head) const { return OfHead(decays_, head); }
  int64_t reach() const { return reach_; }
  // cos, sin and tan of pi/2 position / M, for positions [0, length) and a tile of rows beyond;
  // empty without a state or M
  const void* cosine() const { return cosine_.data(); }
  const void* sine() const { return sine_.data(); }
  const void* tangent() const { return tangent_.data(); }

 private:
  // One for all heads without decay.
  const std::byte* OfHead(const std::vector<std::byte>& tables, int64_t head) const {
    if (tables.empty()) return nullptr;
    const auto heads = static_cast<size_t>(problem_.half_life > 0 ? problem_.heads : 1);
    return tables.data() + static_cast<size_t>(head) % heads * (tables.size() / heads);
  }
  void FillWeights();

  Problem problem_;
  Pass pass_;
  int64_t chunk_, chunks_, segments_, chunks_per_segment_, reach_;
  std::vector<std::byte> toeplitz_, decays_, cosine_, sine_, tangent_;
};

// Floating-point operations (two per multiply-add) of the products that a plan's form needs, with
// the causal limit counted exactly: the basis of fractions of peak.
double CountFlops(const Plan& plan);

// This thread's rate of fused multiply-adds on registers, in FLOP/s: the machine's peak as the
// kernels can reach it.
double MeasurePeakFlops();

// The instruction set that run-time dispatch chose ("AVX3", "AVX2", "NEON", ..).
const char* InstructionSet();

}  // namespace cosdt::attention::kernels
