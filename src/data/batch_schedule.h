// Which documents each optimizer step trains: a pure function of the step number, so that a resumed
// run needs no sampler state. A micro-batch is made of units: documents, or packs of them. Epochs
// as in transformers' Trainer: every unit once, the last micro-batch and the last step of an epoch
// may be smaller.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "data/packing.h"

namespace nibble {

// How an epoch is ordered; transformers' train_sampling_strategy.
enum class Sampling {
  random,
  sequential,
  group_by_length,  // units of like lengths share a step
};

struct ScheduleOptions {
  int64_t batch_size = 1;          // units in a micro-batch
  int64_t accumulation_steps = 1;  // micro-batches in an optimizer step
  double epochs = 3;
  int64_t max_steps = -1;  // overrides epochs when positive
  Sampling sampling = Sampling::random;
  int64_t pack_capacity = 0;  // tokens in a pack; 0: each document is a unit
  uint64_t seed = 42;
};

class BatchSchedule {
 public:
  // lengths: tokens of each document, at most pack_capacity where that is given. Packs are formed
  // here, once for all epochs.
  BatchSchedule(std::span<const int64_t> lengths, const ScheduleOptions& options);

  int64_t total_steps() const { return total_steps_; }
  int64_t steps_per_epoch() const { return steps_per_epoch_; }
  // Epochs finished after `steps` optimizer steps.
  double epoch_after(int64_t steps) const;

  // Document numbers of each micro-batch of optimizer step `step`, counted from 0.
  std::vector<std::vector<int64_t>> micro_batches(int64_t step) const;

  const std::optional<Packs>& packs() const { return packs_; }

 private:
  const std::vector<int64_t>& order_of(int64_t epoch) const;

  ScheduleOptions options_;
  std::optional<Packs> packs_;
  int64_t units_ = 0;
  std::vector<int64_t> unit_lengths_;  // for group_by_length only
  int64_t steps_per_epoch_ = 0;
  int64_t total_steps_ = 0;
  mutable int64_t cached_epoch_ = -1;
  mutable std::vector<int64_t> cached_order_;
};

// What transformers' LengthGroupedSampler makes of a random order: stretches of up to 50 groups are
// sorted by length, longest first, and the longest unit of all comes first. `group` is the number
// of units in an optimizer step (trainer_pt_utils.py, get_length_grouped_indices).
std::vector<int64_t> group_by_length(std::vector<int64_t> order, std::span<const int64_t> lengths,
                                     int64_t group);

}  // namespace nibble
