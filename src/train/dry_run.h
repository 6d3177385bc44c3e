// The memory plan of a training run: the very same code, on ops/plan.
#pragma once

#include "memory/plan.h"
#include "memory/search.h"
#include "train/options.h"
#include "train/step.h"

namespace nibble {

// The micro-batches that decide memory: no other needs more than the one of these that needs most.
struct RunShape {
  std::vector<MicroBatch> train;  // the one with the most tokens first
  std::vector<MicroBatch> eval;   // empty: no evaluation
  int64_t micro_batches = 1;      // in one optimizer step

  int64_t most_tokens() const;  // of a micro-batch
};

// Of all batches, those that decide memory; the one with the most tokens first. Activations follow
// the tokens, the head's scratch the trained ones, and attention's the documents, so the batches
// kept are those that no other equals or exceeds in tokens and trained tokens, or in tokens and
// documents. On a GPU the documents' lengths decide who computes attention, and in what scratch:
// batches of different layouts (ops/cuda/attention_scratch.h) do not stand for each other.
std::vector<MicroBatch> largest_batches(std::vector<MicroBatch> batches);

// What is planned without a dataset: every row, or pack, as long as allowed, every token trained.
// `zeros` serves as the tokens and must outlive the shape.
RunShape longest_shape(const TrainOptions& options, std::vector<int32_t>& zeros);

// One dry run of the largest micro-batches: peaks, and the time of a step of one micro-batch.
PolicyCost policy_cost(const ModelSource& source, const TrainOptions& options,
                       const RunShape& shape, const DeviceProfile& profile,
                       const MemoryPolicy& policy);

MemoryPlan plan_training(const ModelSource& source, const TrainOptions& options,
                         const RunShape& shape, const DeviceProfile& profile,
                         const MemoryPolicy& policy);

}  // namespace nibble
