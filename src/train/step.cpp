#include "train/step.h"

#include <cmath>

#include "core/error.h"

namespace nibble {

namespace {

WeightOptions placed(WeightOptions options, const MemoryPolicy& policy) {
  options.policy = policy;
  return options;
}

OptimizerOptions placed(OptimizerOptions options, const MemoryPolicy& policy) {
  options.moments = policy.moments;
  return options;
}

}  // namespace

TrainStep::TrainStep(const ModelSource& source, const TrainOptions& options,
                     const MemoryPolicy& policy, Ops& ops, const LoadProgress& progress)
    : spec_(source.spec),
      policy_(policy),
      ops_(ops),
      weights_(load_weights(source, placed(weight_options(options), policy), ops, progress)),
      parameters_(options.lora, lora_modules(source.spec), options.seed, true, ops.arena()),
      optimizer_(placed(optimizer_options(options), policy), parameters_, ops),
      loss_(ops.arena().tensor(1, 1, DType::f32, MemoryUse::working_set, "loss")),
      gradient_scale_(
          ops.arena().tensor(1, 1, DType::f32, MemoryUse::working_set, "gradient scale")),
      dropout_step_(ops.arena().tensor(1, 2, DType::i32, MemoryUse::working_set, "dropout step")),
      model_(spec_, weights_, &parameters_, weight_options(options).compute, ops) {
  if (model_.compute() == DType::f16) loss_scale_ = LossScale::for_float16();
  parameters_.initialize(ops);
  optimizer_.reset();
}

float TrainStep::read_loss() {
  float loss = 0;
  ops_.download(std::as_writable_bytes(std::span(&loss, 1)), loss_);
  return loss;
}

void TrainStep::forward_backward(const MicroBatch& documents) {
  const Arena::Scope scope(ops_.arena());
  const Batch batch(documents, spec_, weights_.inverse_frequencies, ops_);
  const auto work = [&] {
    model_.forward_backward(batch, policy_, loss_, gradient_scale_, dropout_step_);
  };
  if (policy_.recorded)
    ops_.repeat(batch.shape(), work);
  else
    work();
}

StepResult TrainStep::train(std::span<const MicroBatch> micro_batches, int64_t step,
                            double learning_rate) {
  StepResult result;
  for (const MicroBatch& batch : micro_batches)
    for (const DocumentView& document : batch) {
      result.tokens += static_cast<int64_t>(document.ids.size());
      result.trained_tokens += trained_tokens(document);
    }
  const float loss_scale = loss_scale_.scale;
  const float gradient_scale = loss_scale / static_cast<float>(result.trained_tokens);

  ops_.upload(gradient_scale_, std::as_bytes(std::span(&gradient_scale, 1)));
  ops_.zero(loss_);
  ops_.zero(parameters_.gradients());
  const auto count = static_cast<uint64_t>(micro_batches.size());
  for (uint64_t i = 0; i < count; ++i) {
    // The counter of micro-batches over the whole run, so that no two draw the same dropout mask.
    const uint64_t counter = static_cast<uint64_t>(step) << 20 | i;
    ops_.upload(dropout_step_, std::as_bytes(std::span(&counter, 1)));
    forward_backward(micro_batches[i]);
  }

  result.loss = static_cast<double>(read_loss()) / static_cast<double>(result.trained_tokens);
  result.gradient_norm = optimizer_.gradient_norm() / loss_scale;
  const bool finite = std::isfinite(result.gradient_norm);
  const bool tolerated = std::isfinite(result.loss) && (finite || loss_scale_.dynamic);
  result.skipped = !loss_scale_.update(finite);
  if (!tolerated || loss_scale_.exhausted())
    fail(ErrorKind::diverged,
         "step {}: loss {}, gradient norm {}: training diverged; lower learning_rate (now {}), or "
         "look at the rows of this step",
         step, result.loss, result.gradient_norm, learning_rate);
  if (!result.skipped)
    optimizer_.update(learning_rate, step - loss_scale_.skipped_steps, result.gradient_norm,
                      loss_scale);
  return result;
}

void TrainStep::evaluate(const MicroBatch& documents, EvalResult& result) {
  const Arena::Scope scope(ops_.arena());
  ops_.zero(loss_);
  const Batch batch(documents, spec_, weights_.inverse_frequencies, ops_);
  model_.evaluate(batch, loss_, policy_.logits);
  result.loss_sum += static_cast<double>(read_loss());
  result.trained_tokens += batch.trained;
}

}  // namespace nibble
