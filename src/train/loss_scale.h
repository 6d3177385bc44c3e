// Dynamic loss scaling for float16 (Micikevicius et al. 2018, section 3.2), with the constants and
// rules of torch.amp.GradScaler: gradients are computed 2^16 times too large, so that small ones
// do not vanish; where one overflows the step is skipped and the scale halved, and after 2000 good
// steps it is doubled.
#pragma once

#include <cstdint>

namespace nibble {

struct LossScale {
  float scale = 1;  // 1 and never changed, unless dynamic
  bool dynamic = false;
  int64_t good_steps = 0;     // since the scale changed
  int64_t skipped_steps = 0;  // in all; they do not count as the optimizer's

  static LossScale for_float16() { return {65536, true, 0, 0}; }

  // True when the step is to be applied; false when it is skipped.
  bool update(bool finite) {
    if (!dynamic) return finite;
    if (!finite) {
      scale /= 2;
      good_steps = 0;
      ++skipped_steps;
      return false;
    }
    if (++good_steps == growth_interval) {
      scale *= 2;
      good_steps = 0;
    }
    return true;
  }
  // Below this nothing is left to gain: the loss itself is not finite.
  bool exhausted() const { return dynamic && scale < 1; }

  static constexpr int64_t growth_interval = 2000;
};

}  // namespace nibble
