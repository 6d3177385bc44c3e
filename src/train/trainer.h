// A whole training run: data, plan, reservation, steps, evaluation, checkpoints, result.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "memory/plan.h"
#include "train/data_source.h"
#include "train/options.h"
#include "train/plan_report.h"
#include "train/step.h"

namespace nibble {

// One logged step; what metrics.jsonl holds.
struct StepReport {
  int64_t step = 0, total_steps = 0;
  double epoch = 0;
  double loss = 0;  // mean of the steps since the last report
  float gradient_norm = 0;
  double learning_rate = 0;
  int64_t tokens = 0;  // processed since the run began
  double tokens_per_second = 0;
  double step_seconds = 0;
  size_t peak_bytes = 0;
  double remaining_seconds = 0;
};

// What the run tells while it goes; every member may be empty. The library itself prints nothing.
struct TrainEvents {
  std::function<void(const std::string&)> note;  // one line: a mechanism that ran, a warning
  std::function<void(uint64_t done, uint64_t total)> reading;  // bytes of data files
  // The rows as they will be trained, before anything is.
  std::function<void(const TokenizedDataset&, const Tokenizer&)> example;
  std::function<void(const MemoryPlan&)> planned;
  std::function<void(uint64_t done, uint64_t total)> loading;
  std::function<void(const StepReport&)> progress;  // every step
  std::function<void(const StepReport&)> logged;    // every logging_steps, and the last
  std::function<void(int64_t step, double loss, int64_t tokens)> evaluated;
  std::function<void(const std::string& path)> saved;
  // Asked at every step boundary; true: save and stop.
  std::function<bool()> stop_requested;
};

struct TrainResult {
  int64_t steps = 0;
  double final_loss = 0;
  MemoryPlan plan;
  Arena::Peak measured, far_measured;
  size_t device_bytes = 0;  // in use on the GPU at the end, by anybody
  size_t planned_bytes() const { return plan.peak_bytes(); }
  size_t measured_bytes() const { return measured.bytes; }
  std::string adapter_path;
};

// The plan of the run that these options describe: exact with a dataset, for rows of max_length
// without. Needs no weights, only config.json; or an architecture's name
// (transformer/architectures) instead of a model.
MemoryPlan plan_run(const TrainOptions& options);
// The same, and what else there is to say of it.
PlanReport plan_report(const TrainOptions& options, const std::string& architecture = {});

// Throws Error. `interrupted` means that a checkpoint was saved and the run resumes.
TrainResult run_training(const TrainOptions& options, const TrainEvents& events);

}  // namespace nibble
