// The memory plan of a training run: the very same code, on ops/plan.
#pragma once

#include "memory/plan.h"
#include "train/options.h"
#include "train/step.h"

namespace nibble {

// The micro-batches that decide memory. None needs more memory than the largest of these: every
// other has no more tokens, and no more trained ones, than one of them.
struct RunShape {
  std::vector<MicroBatch> train;  // the one with the most tokens first
  std::vector<MicroBatch> eval;   // empty: no evaluation
  int64_t micro_batches = 1;      // in one optimizer step
};

// Of all batches, those that no other equals or exceeds in both tokens and trained tokens; the one
// with the most tokens first.
std::vector<MicroBatch> largest_batches(std::vector<MicroBatch> batches);

// What is planned without a dataset: every row as long as allowed, every token trained. `zeros`
// serves as the tokens and must outlive the shape.
RunShape longest_shape(const TrainOptions& options, std::vector<int32_t>& zeros);

MemoryPlan plan_training(const ModelSource& source, const TrainOptions& options,
                         const RunShape& shape, const DeviceProfile& profile);

}  // namespace nibble
