// Compiles the kernels for every instruction set and chooses one at run time.
#include "attention/linear_kernels.h"

// Without the sets whose vectors have no fixed size, and without those between the baseline, AVX2
// and AVX-512, which would only make the program larger.
#define HWY_DISABLED_TARGETS \
  (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "attention/linear_kernels.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <chrono>

#include "attention/linear_backward-inl.h"
#include "attention/linear_forward-inl.h"

#ifndef COSDT_ATTENTION_LINEAR_KERNELS_STEP
#define COSDT_ATTENTION_LINEAR_KERNELS_STEP
namespace cosdt::attention::kernels {
enum class Step { kHeads, kStates, kSegments };  // of Plan's methods
}
#endif

HWY_BEFORE_NAMESPACE();
namespace cosdt::attention::kernels::HWY_NAMESPACE {

template <class T>
void RunForward(const Plan& plan, Step step, int64_t begin, int64_t end, int64_t slices,
                T* states) {
  ForwardKernel<T> kernel(plan);
  const int64_t segments = plan.segments();
  const auto size = static_cast<int64_t>(kernel.StateSize());
  for (int64_t i = begin; i < end; ++i) {
    if (step == Step::kHeads) kernel.Head(i);
    if (step == Step::kStates) {
      kernel.SumStates(i / slices, {i % slices, slices}, states + i / slices * segments * size);
    }
    if (step == Step::kSegments) kernel.Segment(i / segments, i % segments, states + i * size);
  }
}

template <class T>
void RunBackward(const Plan& plan, Step step, int64_t begin, int64_t end, int64_t slices,
                 T* states) {
  BackwardKernel<T> kernel(plan);
  const int64_t segments = plan.segments();
  const auto size = static_cast<int64_t>(kernel.StateSize());
  T* const later = states ? states + plan.heads() * segments * size : nullptr;
  for (int64_t i = begin; i < end; ++i) {
    if (step == Step::kHeads) {
      kernel.Head(i);
    } else if (step == Step::kStates) {
      const int64_t head = i / slices * segments * size;
      kernel.SumStates(i / slices, {i % slices, slices}, states + head, later + head);
    } else {
      kernel.Segment(i / segments, i % segments, states + i * size, later + i * size);
    }
  }
}

void Run(const Plan& plan, Step step, int64_t begin, int64_t end, int64_t slices, void* states) {
  const bool backward = plan.pass() == Pass::kBackward;
  if (plan.problem().type == Type::kFloat64) {
    (backward ? RunBackward<double> : RunForward<double>)(plan, step, begin, end, slices,
                                                          static_cast<double*>(states));
  } else {
    (backward ? RunBackward<float> : RunForward<float>)(plan, step, begin, end, slices,
                                                        static_cast<float*>(states));
  }
}

// Elements of a segment's state (backward: of both), and bytes of scratch.
struct Sizes {
  size_t state, scratch;
};

template <class Kernel>
Sizes SizesOf(const Plan& plan) {
  const Kernel kernel(plan);
  return {kernel.StateSize(), kernel.ScratchSize()};
}

void GetSizes(const Plan& plan, size_t* state, size_t* scratch) {
  const bool wide = plan.problem().type == Type::kFloat64;
  const auto get = plan.pass() == Pass::kBackward
                       ? (wide ? SizesOf<BackwardKernel<double>> : SizesOf<BackwardKernel<float>>)
                       : (wide ? SizesOf<ForwardKernel<double>> : SizesOf<ForwardKernel<float>>);
  const Sizes sizes = get(plan);
  *state = sizes.state;
  *scratch = sizes.scratch;
}

double PeakFlops() {
  using Clock = std::chrono::steady_clock;
  const Tag<float> d;
  constexpr int kSteps = 20000;
  double best = 0;
  for (int repeat = 0; repeat < 50; ++repeat) {
    Tile<float, kTileVectors> tile;
    // values that the compiler cannot know to be equal
    float first[kLanes<float>];
    std::fill_n(first, kLanes<float>, static_cast<float>(1 + repeat));
    for (auto& row : tile.sum) {
      for (auto& sum : row) {
        sum = hn::LoadU(d, first);
        first[0] += 1;
      }
    }
    const auto factor = hn::LoadU(d, first);
    const Clock::time_point start = Clock::now();
    for (int step = 0; step < kSteps; ++step) {
      for (auto& row : tile.sum) {
        for (auto& sum : row) sum = hn::MulAdd(factor, factor, sum);
      }
    }
    const std::chrono::duration<double> seconds = Clock::now() - start;
    auto total = hn::Zero(d);
    for (const auto& row : tile.sum) {
      for (const auto& sum : row) total = hn::Add(total, sum);
    }
    // without a use of the result the compiler would drop the loop
    const double flops = hn::GetLane(total) > 0 ? 2.0 * kSteps * kTileRows * kTileVectors : 0;
    best = std::max(best, flops * static_cast<double>(kLanes<float>) / seconds.count());
  }
  return best;
}

const char* TargetName() { return hwy::TargetName(HWY_TARGET); }

}  // namespace cosdt::attention::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cosdt::attention::kernels {
namespace {

HWY_EXPORT(Run);
HWY_EXPORT(GetSizes);
HWY_EXPORT(PeakFlops);
HWY_EXPORT(TargetName);

size_t StateElements(const Plan& plan) {
  size_t state = 0, scratch = 0;
  HWY_DYNAMIC_DISPATCH(GetSizes)(plan, &state, &scratch);
  return state;
}

}  // namespace

void Plan::RunHeads(int64_t begin, int64_t end) const {
  HWY_DYNAMIC_DISPATCH(Run)(*this, Step::kHeads, begin, end, 1, nullptr);
}

size_t Plan::state_size() const {
  return static_cast<size_t>(heads() * segments_) * (pass_ == Pass::kBackward ? 2 : 1) *
         StateElements(*this) * (problem_.type == Type::kFloat64 ? sizeof(double) : sizeof(float));
}

size_t Plan::scratch_size() const {
  size_t state = 0, scratch = 0;
  HWY_DYNAMIC_DISPATCH(GetSizes)(*this, &state, &scratch);
  return scratch + toeplitz_.size() + decays_.size() + cosine_.size() + sine_.size() +
         tangent_.size();
}

void Plan::SumStates(int64_t begin, int64_t end, int64_t slices, void* states) const {
  HWY_DYNAMIC_DISPATCH(Run)(*this, Step::kStates, begin, end, slices, states);
}

void Plan::RunSegments(int64_t begin, int64_t end, void* states) const {
  HWY_DYNAMIC_DISPATCH(Run)(*this, Step::kSegments, begin, end, 1, states);
}

double MeasurePeakFlops() { return HWY_DYNAMIC_DISPATCH(PeakFlops)(); }
const char* InstructionSet() { return HWY_DYNAMIC_DISPATCH(TargetName)(); }

}  // namespace cosdt::attention::kernels
#endif
