#include "train/learning_rate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace nibble {

double LearningRateSchedule::at(int64_t steps_done) const {
  const auto step = static_cast<double>(steps_done);
  const auto warmup = static_cast<double>(warmup_steps);
  const auto total = static_cast<double>(total_steps);
  double factor = 1;
  if (type != SchedulerType::constant && steps_done < warmup_steps) {
    factor = step / std::max(1.0, warmup);
  } else if (type == SchedulerType::linear) {
    factor = std::max(0.0, (total - step) / std::max(1.0, total - warmup));
  } else if (type == SchedulerType::cosine) {
    const double progress = (step - warmup) / std::max(1.0, total - warmup);
    factor = std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * progress)));
  }
  return learning_rate * factor;
}

}  // namespace nibble
