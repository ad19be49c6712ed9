#include "tests/attention/warp_emulator.h"

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numbers>
#include <random>
#include <stdexcept>
#include <vector>

#include "attention/cuda_warp.cuh"

namespace cosdt::attention::kernels::cuda::host {
namespace {

constexpr size_t kStackBytes = 256 * 1024;

enum class State { kReady, kWaiting, kDone };

struct Copy {
  void* to;
  const void* from;
  bool real;
};

struct Fiber : Thread {
  State state = State::kReady;
  int barrier = 0;  // the numbered one that it waits at
  void* jump[5];    // __builtin_setjmp's: a switch without system calls
  bool begun = false;
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  std::vector<Copy> copies;
};

// Threads that wait for each other.
struct Group {
  Arrivals arrived;
  int count = 0;
  const std::type_info* what = nullptr;
};

struct Running {
  std::vector<Fiber> fibers;
  std::vector<Group> warps;
  Group block;
  int waiting[16] = {};  // at numbered barriers
  void* scheduler[5];
  ucontext_t start;  // the caller of a fiber's first run
  int copied = 0;
  const std::function<void()>* body = nullptr;
  std::exception_ptr error;
};

Faults planted;
Running* running = nullptr;
Fiber* current = nullptr;

// Jumps leave no stack behind, as the address sanitizer would assume.
#define COSDT_SWITCH __attribute__((noinline, no_sanitize("address")))

// must not be part of the function that sets the place to jump to
COSDT_SWITCH void Jump(void** to) { __builtin_longjmp(to, 1); }

COSDT_SWITCH void ToScheduler() {
  if (__builtin_setjmp(current->jump) == 0) Jump(running->scheduler);
}

void Enter() {
  try {
    (*running->body)();
  } catch (...) {
    running->error = std::current_exception();
  }
  current->state = State::kDone;
  ToScheduler();
}

COSDT_SWITCH void Resume(Fiber& fiber) {
  current = &fiber;
  if (__builtin_setjmp(running->scheduler) != 0) return;
  if (fiber.begun) Jump(fiber.jump);
  fiber.begun = true;
  setcontext(&fiber.context);
}

void Wait(Group& group, int first, int size, const std::function<void(const Arrivals&)>& all,
          void* mine) {
  if (group.count == 0) group.what = &all.target_type();
  if (*group.what != all.target_type()) {
    throw std::logic_error("threads that should do the same do different things");
  }
  group.arrived[static_cast<size_t>(current->index - first)] = mine;
  if (++group.count < size) {
    current->state = State::kWaiting;
    return ToScheduler();
  }
  group.count = 0;
  all(group.arrived);
  for (int i = 0; i < size; ++i) {
    running->fibers[static_cast<size_t>(first + i)].state = State::kReady;
  }
}

}  // namespace

PlantedFaults::PlantedFaults(const Faults& faults) { planted = faults; }
PlantedFaults::~PlantedFaults() { planted = {}; }

Thread& Current() { return *current; }

void CosSin(float half_turns, float* cosine, float* sine) {
  const double angle = std::numbers::pi * static_cast<double>(half_turns);
  *cosine = static_cast<float>(std::cos(angle));
  *sine = static_cast<float>(std::sin(angle));
  if (planted.wrong_sine) *sine = *cosine;
}

void Block(const std::function<void(const Arrivals&)>& all, void* mine) {
  Wait(running->block, 0, static_cast<int>(running->fibers.size()), all, mine);
}

void Warp(const std::function<void(const Arrivals&)>& all, void* mine) {
  const int warp = current->index / 32;
  Wait(running->warps[static_cast<size_t>(warp)], warp * 32, 32, all, mine);
}

bool Or(bool mine) {
  bool any = mine;
  Block(
      [](const Arrivals& arrivals) {
        bool one = false;
        for (void* x : arrivals) one |= *static_cast<bool*>(x);
        for (void* x : arrivals) *static_cast<bool*>(x) = one;
      },
      &any);
  return any;
}

void SyncWarps(int number, int threads) {
  current->barrier = number;
  if (++running->waiting[number] < threads) {
    current->state = State::kWaiting;
    return ToScheduler();
  }
  running->waiting[number] = 0;
  for (Fiber& fiber : running->fibers) {
    if (fiber.barrier != number) continue;
    fiber.barrier = 0;
    fiber.state = State::kReady;
  }
}

float ShuffleXor(float x, int lanes) {
  struct Mine {
    float value;
    int lanes;
  } mine{x, lanes};
  Warp(
      [](const Arrivals& arrivals) {
        float values[32];
        for (size_t i = 0; i < 32; ++i) values[i] = static_cast<Mine*>(arrivals[i])->value;
        for (size_t i = 0; i < 32; ++i) {
          auto& of_lane = *static_cast<Mine*>(arrivals[i]);
          of_lane.value =
              values[planted.skip_shuffles ? i : i ^ static_cast<size_t>(of_lane.lanes)];
        }
      },
      &mine);
  return mine.value;
}

void CopyAsync(void* to, const void* from, bool real) {
  // reads before the wait find NaNs
  std::memset(to, 0xff, 16);
  current->copies.push_back({to, from, real});
}

void WaitForCopies() {
  for (const Copy& copy : current->copies) {
    if (planted.skip_copies) continue;
    const bool lost = planted.short_copies && ++running->copied % 64 == 0;
    if (copy.real && !lost) {
      std::memcpy(copy.to, copy.from, 16);
    } else {
      std::memset(copy.to, 0, 16);
    }
  }
  current->copies.clear();
}

void LoadMatrices(uint32_t (&to)[4], const void* row, bool transposed) {
  struct Mine {
    const void* row;
    bool transposed;
    uint32_t words[4];
  } mine{row, transposed, {}};
  Warp(
      [](const Arrivals& arrivals) {
        for (size_t matrix = 0; matrix < 4; ++matrix) {
          uint16_t values[8][8];
          for (size_t i = 0; i < 8; ++i) {
            const void* from = static_cast<Mine*>(arrivals[matrix * 8 + i])->row;
            if (reinterpret_cast<uintptr_t>(from) % 16 != 0) {
              throw std::logic_error("ldmatrix: a row is not aligned to 16 bytes");
            }
            std::memcpy(values[i], from, 16);
          }
          for (size_t lane = 0; lane < 32; ++lane) {
            auto& of_lane = *static_cast<Mine*>(arrivals[lane]);
            uint16_t pair[2];
            for (size_t j = 0; j < 2; ++j) {
              const size_t line = lane / 4, place = lane % 4 * 2 + j;
              pair[j] = of_lane.transposed && !planted.skip_transpose ? values[place][line]
                                                                      : values[line][place];
            }
            std::memcpy(&of_lane.words[matrix], pair, 4);
          }
        }
      },
      &mine);
  std::memcpy(to, mine.words, sizeof mine.words);
}

void Mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, bool bfloat16) {
  struct Mine {
    float d[4];
    uint32_t a[4], b[2];
    bool bfloat16;
  } mine{{d[0], d[1], d[2], d[3]}, {a[0], a[1], a[2], a[3]}, {b0, b1}, bfloat16};
  Warp(
      [](const Arrivals& arrivals) {
        const bool pairs = static_cast<Mine*>(arrivals[0])->bfloat16;
        const size_t depth = pairs ? 16 : 8;
        float left[16][16], right[16][8];
        for (size_t lane = 0; lane < 32; ++lane) {
          const auto& of_lane = *static_cast<Mine*>(arrivals[lane]);
          const size_t line = lane / 4, place = lane % 4;
          for (size_t i = 0; i < 4; ++i) {
            const size_t row = line + i % 2 * 8;
            if (pairs) {
              left[row][place * 2 + i / 2 * 8] = LowOf(of_lane.a[i]);
              left[row][place * 2 + 1 + i / 2 * 8] = HighOf(of_lane.a[i]);
            } else {
              // the hardware reads only tf32's bits of a word
              left[row][place + i / 2 * 4] = FromBits(of_lane.a[i] & ~0x1fffu);
            }
          }
          for (size_t i = 0; i < 2; ++i) {
            if (pairs) {
              right[place * 2 + i * 8][line] = LowOf(of_lane.b[i]);
              right[place * 2 + 1 + i * 8][line] = HighOf(of_lane.b[i]);
            } else {
              right[place + i * 4][line] = FromBits(of_lane.b[i] & ~0x1fffu);
            }
          }
        }
        float products[16][8] = {};
        for (size_t row = 0; row < 16; ++row) {
          for (size_t k = 0; k < depth; ++k) {
            for (size_t column = 0; column < 8; ++column) {
              products[row][column] += left[row][k] * right[k][column];
            }
          }
        }
        for (size_t lane = 0; lane < 32; ++lane) {
          auto& of_lane = *static_cast<Mine*>(arrivals[lane]);
          for (size_t i = 0; i < 4; ++i) {
            const size_t column = lane % 4 * 2 + i % 2;
            if (planted.narrow_products && column == 7) continue;
            of_lane.d[i] += products[lane / 4 + i / 2 * 8][column];
          }
        }
      },
      &mine);
  std::memcpy(d, mine.d, sizeof mine.d);
}

void RunBlock(int threads, Order order, const std::function<void()>& body) {
  Running run;
  run.fibers.resize(static_cast<size_t>(threads));
  run.warps.resize(static_cast<size_t>(threads / 32));
  for (Group& warp : run.warps) warp.arrived.resize(32);
  run.block.arrived.resize(run.fibers.size());
  run.body = &body;
  running = &run;
  static std::vector<std::unique_ptr<char[]>> stacks;  // kept from block to block
  std::vector<size_t> turns;
  for (size_t i = 0; i < run.fibers.size(); ++i) {
    Fiber& fiber = run.fibers[i];
    fiber.index = static_cast<int>(i);
    if (i == stacks.size()) stacks.push_back(std::make_unique<char[]>(kStackBytes));
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stacks[i].get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, Enter, 0);
    turns.push_back(i);
  }
  if (order == Order::kDown) std::ranges::reverse(turns);
  if (order == Order::kShuffled) std::ranges::shuffle(turns, std::mt19937(7));
  for (bool moved = true; moved;) {
    moved = false;
    for (const size_t i : turns) {
      // a warp's threads run until all of them wait for more than each other
      if (run.fibers[i].state != State::kReady) continue;
      Resume(run.fibers[i]);
      if (run.error) std::rethrow_exception(run.error);
      moved = true;
    }
  }
  for (const Fiber& fiber : run.fibers) {
    if (fiber.state != State::kDone) throw std::logic_error("threads wait for ever");
    if (!fiber.copies.empty()) throw std::logic_error("a copy was not waited for");
  }
}

}  // namespace cosdt::attention::kernels::cuda::host
