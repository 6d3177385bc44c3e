#include "train/dry_run.h"

#include <algorithm>
#include <utility>

#include "core/buffer.h"

namespace nibble {
namespace {

// Addresses only; more than any machine has.
constexpr size_t plan_capacity = size_t{1} << 44;

int64_t tokens_of(const MicroBatch& batch) {
  int64_t tokens = 0;
  for (const DocumentView& document : batch) tokens += static_cast<int64_t>(document.ids.size());
  return tokens;
}

int64_t trained_of(const MicroBatch& batch) {
  int64_t trained = 0;
  for (const DocumentView& document : batch) trained += trained_tokens(document);
  return trained;
}

// Runs `work` on a dry TrainStep and returns what it cost.
template <typename Work>
PlanCosts dry_run(const ModelSource& source, const TrainOptions& options,
                  const DeviceProfile& profile, Arena::Peak* peak, const Work& work) {
  const Buffer addresses = Buffer::addresses_only(plan_capacity);
  Arena arena(addresses.data(), addresses.size());
  PlanOps ops(arena, profile);
  TrainStep step(source, options, ops);
  ops.reset_costs();
  work(step);
  if (peak) *peak = arena.peak();
  return ops.costs();
}

}  // namespace

std::vector<MicroBatch> largest_batches(std::vector<MicroBatch> batches) {
  std::ranges::stable_sort(batches, [](const MicroBatch& a, const MicroBatch& b) {
    return std::pair(tokens_of(a), trained_of(a)) > std::pair(tokens_of(b), trained_of(b));
  });
  std::vector<MicroBatch> largest;
  int64_t most_trained = -1;
  for (MicroBatch& batch : batches)
    if (const int64_t trained = trained_of(batch); trained > most_trained) {
      most_trained = trained;
      largest.push_back(std::move(batch));
    }
  return largest;
}

RunShape longest_shape(const TrainOptions& options, std::vector<int32_t>& zeros) {
  zeros.assign(static_cast<size_t>(options.max_length), 0);
  const DocumentView document{zeros, zeros};
  RunShape shape;
  shape.train.emplace_back(static_cast<size_t>(options.per_device_train_batch_size), document);
  shape.micro_batches = options.gradient_accumulation_steps;
  if (!options.eval_dataset.empty())
    shape.eval.emplace_back(static_cast<size_t>(options.per_device_eval_batch_size), document);
  return shape;
}

MemoryPlan plan_training(const ModelSource& source, const TrainOptions& options,
                         const RunShape& shape, const DeviceProfile& profile) {
  MemoryPlan plan;
  plan.largest_micro_batch = tokens_of(shape.train.front());
  dry_run(source, options, profile, &plan.peak, [&](TrainStep& step) {
    step.train(shape.train, 1, 0);
    TrainStep::EvalResult ignored;
    for (const MicroBatch& batch : shape.eval) step.evaluate(batch, ignored);
  });

  const std::vector<MicroBatch> full_step(static_cast<size_t>(shape.micro_batches),
                                          shape.train.front());
  const auto one_step = [&](TrainStep& step) {
    plan.step_tokens = step.train(full_step, 1, 0).tokens;
  };
  plan.step = dry_run(source, options, profile, nullptr, one_step);
  TrainOptions keep_all = options;
  keep_all.gradient_checkpointing = 0;
  const PlanCosts useful = dry_run(source, keep_all, profile, nullptr, one_step);
  plan.useful_flops = useful.product_flops + useful.attention_flops;
  return plan;
}

}  // namespace nibble
