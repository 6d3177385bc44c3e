// The real training step on random weights and tokens: how fast, in what memory, and where each
// millisecond goes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "memory/plan.h"
#include "train/options.h"

namespace nibble {

struct BenchResult {
  std::string device;
  int64_t parameters = 0;
  std::vector<double> step_seconds;  // of each step after the first
  std::vector<double> losses;
  double first_step_seconds = 0;  // the first builds kernels and chooses algorithms
  double load_seconds = 0;        // drawing, uploading and quantizing the weights
  double product_ceiling = 0;     // FLOP/s of a large product, measured in this run
  MemoryPlan plan;
  double plan_seconds = 0;               // of the search for the fastest plan
  size_t measured_bytes = 0;             // of the arena
  size_t far_measured_bytes = 0;         // of the far one
  size_t device_bytes = 0;               // in use on the GPU, context and libraries included
  size_t context_bytes = 0;              // in use before the reservation
  std::map<std::string, double> phases;  // milliseconds of one step, by operation and part

  double median_step() const;
  double tokens_per_second() const { return static_cast<double>(plan.step_tokens) / median_step(); }
};

// options: batch, length, accumulation, adapter, checkpointing, device. steps: timed ones. phases:
// one more step, timed by operation.
BenchResult run_bench(const std::string& architecture, const TrainOptions& options, int64_t steps,
                      bool phases);

}  // namespace nibble
