// The training step: the arrow of the design in one place. It runs on any Ops: on ops/cpu it
// trains, on ops/plan it measures itself.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lora/parameters.h"
#include "train/loss_scale.h"
#include "train/optimizer.h"
#include "train/options.h"
#include "transformer/model.h"

namespace nibble {

using MicroBatch = std::vector<DocumentView>;

struct StepResult {
  double loss = 0;  // mean over the step's trained tokens
  float gradient_norm = 0;
  int64_t tokens = 0;          // processed
  int64_t trained_tokens = 0;  // in the loss
  bool skipped = false;        // a float16 gradient overflowed; adapter and moments are as before
};

class TrainStep {
 public:
  // Lays out (and, with data, loads) weights, adapter, gradients and moments in the memory of
  // `ops`, far what the policy wants far.
  TrainStep(const ModelSource& source, const TrainOptions& options, const MemoryPolicy& policy,
            Ops& ops, const LoadProgress& progress = {});
  TrainStep(const TrainStep&) = delete;
  TrainStep& operator=(const TrainStep&) = delete;

  // One optimizer step; `step` counts from 1. Throws diverged, before touching adapter and moments,
  // when the loss or a gradient is not finite; in float16 an overflowing gradient skips the step
  // instead.
  StepResult train(std::span<const MicroBatch> micro_batches, int64_t step, double learning_rate);

  struct EvalResult {
    double loss_sum = 0;
    int64_t trained_tokens = 0;
    double loss() const { return loss_sum / static_cast<double>(trained_tokens); }
  };
  void evaluate(const MicroBatch& batch, EvalResult& result);

  LoraParameters& parameters() { return parameters_; }
  Optimizer& optimizer() { return optimizer_; }
  ModelWeights& weights() { return weights_; }
  const Model& model() const { return model_; }
  LossScale& loss_scale() { return loss_scale_; }
  Ops& ops() { return ops_; }

 private:
  float read_loss();
  void forward_backward(const MicroBatch& documents);

  const ModelSpec& spec_;
  const MemoryPolicy policy_;
  Ops& ops_;
  ModelWeights weights_;
  LoraParameters parameters_;
  Optimizer optimizer_;
  Tensor loss_;            // f32 [1, 1]
  Tensor gradient_scale_;  // f32 [1, 1]
  Tensor dropout_step_;    // i32 [1, 2]
  LossScale loss_scale_;
  Model model_;
};

}  // namespace nibble
