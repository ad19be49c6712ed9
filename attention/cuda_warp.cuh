// The CUDA kernels' access to a warp and its block: tensor-core products (mma.sync), ldmatrix,
// cp.async, shuffles and barriers. Compiled for the host, each is a rendezvous of emulated threads
// (tests/attention/warp_emulator.h), so that the kernels' templates are tested without a device.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#define COSDT_DEVICE __device__ __forceinline__
#define COSDT_UNROLL _Pragma("unroll")
#define COSDT_PRAGMA(text) _Pragma(#text)
#define COSDT_UNROLL_BY(times) COSDT_PRAGMA(unroll times)
#define COSDT_NO_UNROLL _Pragma("unroll 1")
#else
#include "attention/cuda_host_threads.h"
#define COSDT_DEVICE inline
#define COSDT_UNROLL
#define COSDT_UNROLL_BY(times)
#define COSDT_NO_UNROLL
#endif

// A condition whose code is best kept out of the way.
#define COSDT_RARELY(condition) __builtin_expect(condition, false)

namespace cosdt::attention::kernels::cuda {

// A word of memory, aligned to its size.
COSDT_DEVICE uint32_t LoadWord(const void* from) {
#ifdef __CUDACC__
  return *static_cast<const uint32_t*>(from);
#else
  uint32_t word;
  __builtin_memcpy(&word, from, sizeof word);
  return word;
#endif
}
COSDT_DEVICE void StoreWord(void* to, uint32_t word) {
#ifdef __CUDACC__
  *static_cast<uint32_t*>(to) = word;
#else
  __builtin_memcpy(to, &word, sizeof word);
#endif
}

// Two words, aligned to their size.
COSDT_DEVICE void LoadWords(const void* from, uint32_t& first, uint32_t& second) {
#ifdef __CUDACC__
  const uint2 words = *static_cast<const uint2*>(from);
  first = words.x;
  second = words.y;
#else
  first = LoadWord(from);
  second = LoadWord(static_cast<const char*>(from) + 4);
#endif
}
COSDT_DEVICE void StoreWords(void* to, uint32_t first, uint32_t second) {
#ifdef __CUDACC__
  *static_cast<uint2*>(to) = {first, second};
#else
  StoreWord(to, first);
  StoreWord(static_cast<char*>(to) + 4, second);
#endif
}

// Values in bfloat16 as memory holds them.
struct BFloat16 {
  uint16_t bits;
};

COSDT_DEVICE float FromBits(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

COSDT_DEVICE uint32_t ToBits(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}

// Two bfloat16 values in one word, `low` at the lower address; rounds to nearest, ties to even.
COSDT_DEVICE uint32_t PackBFloat16(float low, float high) {
#ifdef __CUDACC__
  uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
#else
  const auto round = [](float x) -> uint32_t {
    if (x != x) return 0x7fff;
    const uint32_t bits = ToBits(x);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  };
  return round(low) | round(high) << 16;
#endif
}

COSDT_DEVICE float LowOf(uint32_t word) { return FromBits(word << 16); }
COSDT_DEVICE float HighOf(uint32_t word) { return FromBits(word & 0xffff0000u); }

COSDT_DEVICE float ToFloat(BFloat16 x) { return FromBits(static_cast<uint32_t>(x.bits) << 16); }
COSDT_DEVICE float ToFloat(float x) { return x; }
COSDT_DEVICE void Round(float x, float& to) { to = x; }
COSDT_DEVICE void Round(float x, BFloat16& to) {
  to.bits = static_cast<uint16_t>(PackBFloat16(x, 0) & 0xffff);
}

// The products of two pairs of bfloat16 values.
COSDT_DEVICE uint32_t MultiplyPairs(uint32_t a, uint32_t b) {
#ifdef __CUDACC__
  uint32_t word;  // a plain product needs sm_90
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(word) : "r"(a), "r"(b), "r"(0x80008000u));
  return word;
#else
  return PackBFloat16(LowOf(a) * LowOf(b), HighOf(a) * HighOf(b));
#endif
}

// cos and sin of pi `half_turns`
COSDT_DEVICE void CosSin(float half_turns, float* cosine, float* sine) {
#ifdef __CUDACC__
  sincospif(half_turns, sine, cosine);
#else
  host::CosSin(half_turns, cosine, sine);
#endif
}

// 1 / x to a unit of the last place.
COSDT_DEVICE float Inverse(float x) {
#ifdef __CUDACC__
  float y;
  asm("rcp.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1 / x;
#endif
}

COSDT_DEVICE float Exp(float x) {
#ifdef __CUDACC__
  float y;  // values that it flushes to 0 do not matter to sums of features
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.4426950408889634f));
  return y;
#else
  return std::exp(x);
#endif
}

template <class X>
COSDT_DEVICE X MinOf(X a, X b) {
  return a < b ? a : b;
}

// The larger of both, or NaN if a is NaN.
COSDT_DEVICE float MaxOrNan(float a, float b) {
#ifdef __CUDACC__
  float x;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(x) : "f"(a), "f"(b));
  return x;
#else
  return a < b ? b : a;
#endif
}

COSDT_DEVICE int ThreadIndex() {
#ifdef __CUDACC__
  return static_cast<int>(threadIdx.x);
#else
  return host::Current().index;
#endif
}

// p + count step, in one instruction.
COSDT_DEVICE char* Advance(char* p, int count, int step) {
#ifdef __CUDACC__
  char* to;
  asm("mad.wide.s32 %0, %1, %2, %3;" : "=l"(to) : "r"(count), "r"(step), "l"(p));
  return to;
#else
  return p + static_cast<ptrdiff_t>(count) * step;
#endif
}

// A barrier of the block.
COSDT_DEVICE void SyncThreads() {
#ifdef __CUDACC__
  __syncthreads();
#else
  host::Block([](const host::Arrivals&) {}, nullptr);
#endif
}

// The same; returns whether it holds for any thread.
COSDT_DEVICE bool SyncThreadsOr(bool mine) {
#ifdef __CUDACC__
  return __syncthreads_or(mine);
#else
  return host::Or(mine);
#endif
}

// A barrier of `threads` threads, whole warps, that name the same number, 1 to 15.
COSDT_DEVICE void SyncWarps(int number, int threads) {
#ifdef __CUDACC__
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
#else
  host::SyncWarps(number, threads);
#endif
}

// The value of the lane whose index is this one's exclusive or `lanes`.
COSDT_DEVICE float ShuffleXor(float x, int lanes) {
#ifdef __CUDACC__
  return __shfl_xor_sync(~0u, x, lanes);
#else
  return host::ShuffleXor(x, lanes);
#endif
}

// *to = the smaller of both, in shared memory.
COSDT_DEVICE void AtomicMin(int* to, int x) {
#ifdef __CUDACC__
  atomicMin(to, x);
#else
  if (x < *to) *to = x;
#endif
}

#ifdef __CUDACC__
COSDT_DEVICE uint32_t SharedAddress(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
#endif

// Begins to copy 16 bytes from global to shared memory, or zeros if not `real`. They are there
// after WaitForCopies, for this thread.
COSDT_DEVICE void CopyAsync(void* to, const void* from, bool real) {
#ifdef __CUDACC__
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(SharedAddress(to)), "l"(from),
               "r"(real ? 16 : 0)
               : "memory");
#else
  host::CopyAsync(to, from, real);
#endif
}

COSDT_DEVICE void WaitForCopies() {
#ifdef __CUDACC__
  asm volatile("cp.async.wait_all;" ::: "memory");
#else
  host::WaitForCopies();
#endif
}

// Four 8 x 8 matrices of 16-bit values (or 8 x 4 of 32-bit ones): lane i gives the address of row
// i % 8 of matrix i / 8; afterwards it holds of each matrix the word lane % 4 of row lane / 4.
COSDT_DEVICE void LoadMatrices(uint32_t (&to)[4], const void* row) {
#ifdef __CUDACC__
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(SharedAddress(row)));
#else
  host::LoadMatrices(to, row, false);
#endif
}

// The same with every matrix transposed.
COSDT_DEVICE void LoadTransposedMatrices(uint32_t (&to)[4], const void* row) {
#ifdef __CUDACC__
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(SharedAddress(row)));
#else
  host::LoadMatrices(to, row, true);
#endif
}

// d += a b for a [16, 16] and b [16, 8] in bfloat16 and d in float32, spread over the warp as PTX
// has it.
COSDT_DEVICE void MmaBFloat16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#ifdef __CUDACC__
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  host::Mma(d, a, b0, b1, true);
#endif
}

// The same for a [16, 8] and b [8, 8] in tf32.
COSDT_DEVICE void MmaTf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#ifdef __CUDACC__
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  host::Mma(d, a, b0, b1, false);
#endif
}

}  // namespace cosdt::attention::kernels::cuda
