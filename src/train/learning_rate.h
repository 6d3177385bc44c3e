// Learning rate schedules as transformers.optimization defines them.
#pragma once

#include <cstdint>

namespace nibble {

enum class SchedulerType { linear, cosine, constant, constant_with_warmup };

struct LearningRateSchedule {
  SchedulerType type = SchedulerType::linear;
  double learning_rate = 5e-5;
  int64_t warmup_steps = 0;
  int64_t total_steps = 1;

  // The rate of the update that follows `steps_done` finished updates.
  double at(int64_t steps_done) const;
};

}  // namespace nibble
