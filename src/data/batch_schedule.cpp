#include "data/batch_schedule.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"

namespace nibble {

BatchSchedule::BatchSchedule(int64_t rows, const ScheduleOptions& options)
    : rows_(rows), options_(options) {
  const auto ceil_div = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  steps_per_epoch_ = ceil_div(ceil_div(rows, options.batch_size), options.accumulation_steps);
  total_steps_ =
      options.max_steps > 0
          ? options.max_steps
          : static_cast<int64_t>(std::ceil(options.epochs * static_cast<double>(steps_per_epoch_)));
  if (total_steps_ < 1)
    fail(ErrorKind::usage, "num_train_epochs {} gives no step to train", options.epochs);
}

double BatchSchedule::epoch_after(int64_t steps) const {
  return static_cast<double>(steps) / static_cast<double>(steps_per_epoch_);
}

// Fisher-Yates from the epoch's own stream.
const std::vector<int64_t>& BatchSchedule::order_of(int64_t epoch) const {
  if (epoch == cached_epoch_) return cached_order_;
  cached_order_.resize(static_cast<size_t>(rows_));
  std::iota(cached_order_.begin(), cached_order_.end(), int64_t{0});
  if (options_.shuffle) {
    RandomSequence random(random_key(options_.seed, RandomUse::shuffle),
                          static_cast<uint64_t>(epoch));
    for (size_t i = cached_order_.size(); i > 1; --i)
      std::swap(cached_order_[i - 1], cached_order_[random.below(static_cast<uint32_t>(i))]);
  }
  cached_epoch_ = epoch;
  return cached_order_;
}

std::vector<std::vector<int64_t>> BatchSchedule::micro_batches(int64_t step) const {
  const std::vector<int64_t>& order = order_of(step / steps_per_epoch_);
  const int64_t rows_per_step = options_.batch_size * options_.accumulation_steps;
  const int64_t first = step % steps_per_epoch_ * rows_per_step;
  const int64_t last = std::min(rows_, first + rows_per_step);
  std::vector<std::vector<int64_t>> batches;
  for (int64_t begin = first; begin < last; begin += options_.batch_size) {
    const int64_t end = std::min(last, begin + options_.batch_size);
    batches.emplace_back(order.begin() + begin, order.begin() + end);
  }
  return batches;
}

}  // namespace nibble
