// Which rows each optimizer step trains: a pure function of the step number, so that a resumed run
// needs no sampler state. Epochs as in transformers' Trainer: every row once, the last micro-batch
// and the last step of an epoch may be smaller.
#pragma once

#include <cstdint>
#include <vector>

namespace nibble {

struct ScheduleOptions {
  int64_t batch_size = 1;          // rows in a micro-batch
  int64_t accumulation_steps = 1;  // micro-batches in an optimizer step
  double epochs = 3;
  int64_t max_steps = -1;  // overrides epochs when positive
  bool shuffle = true;
  uint64_t seed = 42;
};

class BatchSchedule {
 public:
  BatchSchedule(int64_t rows, const ScheduleOptions& options);

  int64_t total_steps() const { return total_steps_; }
  int64_t steps_per_epoch() const { return steps_per_epoch_; }
  // Epochs finished after `steps` optimizer steps.
  double epoch_after(int64_t steps) const;

  // Row numbers of each micro-batch of optimizer step `step`, counted from 0.
  std::vector<std::vector<int64_t>> micro_batches(int64_t step) const;

 private:
  const std::vector<int64_t>& order_of(int64_t epoch) const;

  int64_t rows_;
  ScheduleOptions options_;
  int64_t steps_per_epoch_ = 0;
  int64_t total_steps_ = 0;
  mutable int64_t cached_epoch_ = -1;
  mutable std::vector<int64_t> cached_order_;
};

}  // namespace nibble
