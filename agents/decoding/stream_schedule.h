// When the streams of recurrent and staggered decoding (decoder.h) are restarted, and which one
// answers.
#pragma once

#include <cstdint>

#include "agents/decoding/decoder.h"

namespace cosdt::agents::decoding {

struct StreamSchedule {
  int64_t period = 0;  // steps between restarts of a stream, even; 0: one stream, never restarted

  int streams() const { return period > 0 ? 2 : 1; }

  // The steps before `step` that a stream remembers; 0 if it is restarted with it, negative if it
  // has not started.
  int64_t Age(int stream, int64_t step) const {
    const int64_t since = step - stream * (period / 2);
    return period > 0 && since >= 0 ? since % period : since;
  }

  // Whether a stream's answer at `step` is the decision: the older one's.
  bool Answers(int stream, int64_t step) const {
    const int64_t age = Age(stream, step);
    return age >= 0 && (age >= period / 2 || step < period / 2);
  }
};

// `context` is the agent's, in steps.
inline StreamSchedule MakeSchedule(DecodeMode mode, int64_t context) {
  return {mode == DecodeMode::kStaggered ? context : 0};
}

}  // namespace cosdt::agents::decoding
