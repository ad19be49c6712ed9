// The layout of a recorded update's inputs, which differ from one update to the next: an int64
// array of rows of equal width on the device:
//   row 0      how many updates are done, 1 + the first that was not finite (0: none), a ticket
//   row 1      the inputs of the update that is to come
//   row 1 + u  the inputs of update u
// An update's inputs are AdamW's three scalars (the bits of float64), the number of real steps, the
// keys of dropout, and each window's first row of the data, first timestep and length. An update's
// last kernel moves the next one's inputs to row 1.
#pragma once

#include <cstdint>

#include "agents/kernels/host_device.h"

namespace cosdt::agents::update_inputs {

inline constexpr int64_t kDone = 0, kFirstBad = 1, kTicket = 2;  // of row 0
inline constexpr int64_t kDecay = 0, kRootCorrection = 1, kRate = 2, kReal = 3, kKeys = 4;

COSDT_BOTH int64_t Width(int64_t batch, int64_t keys) { return kKeys + keys + 3 * batch; }

// A window of the data, as row 1 describes it.
struct Window {
  int64_t row, timestep, length;

  // Steps are counted from the left of a window of `context` steps, whose right end it
  // fills.
  COSDT_BOTH bool IsReal(int64_t step, int64_t context) const { return step >= context - length; }
  COSDT_BOTH int64_t Since(int64_t step, int64_t context) const {
    return step - (context - length);
  }
};

COSDT_BOTH Window WindowAt(const int64_t* words, int64_t width, int64_t batch, int64_t i) {
  const int64_t* const at = words + 2 * width - 3 * (batch - i);
  return {at[0], at[1], at[2]};
}

COSDT_BOTH uint64_t KeyAt(const int64_t* words, int64_t width, int64_t layer) {
  return static_cast<uint64_t>(words[width + kKeys + layer]);
}

}  // namespace cosdt::agents::update_inputs
