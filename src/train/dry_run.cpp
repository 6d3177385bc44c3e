#include "train/dry_run.h"

#include <algorithm>
#include <functional>
#include <map>
#include <tuple>
#include <utility>

#include "core/buffer.h"
#include "ops/cuda/attention_scratch.h"

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

struct BatchSize {
  size_t index;  // among all
  int64_t tokens, trained, documents;
};

// Documents and length where they are all of one length and GPUs compute that in its own way.
std::pair<int64_t, int64_t> layout_of(const MicroBatch& batch) {
  int64_t longest = 0;
  for (const DocumentView& document : batch) longest = std::max(longest, std::ssize(document.ids));
  const auto layout = cuda::cudnn_batch(std::ssize(batch), tokens_of(batch), longest);
  return layout.ragged ? std::pair(int64_t{0}, int64_t{0})
                       : std::pair(layout.documents, layout.length);
}

// Adds to `kept` the sizes that no other equals or exceeds in both tokens and `measure`.
void keep_largest(std::vector<BatchSize>& sizes, int64_t BatchSize::*measure,
                  std::vector<BatchSize>& kept) {
  std::ranges::sort(sizes, std::greater(), [&](const BatchSize& size) {
    return std::tuple(size.tokens, size.*measure, size.index);
  });
  int64_t most = -1;
  for (const BatchSize& size : sizes)
    if (size.*measure > most) {
      most = size.*measure;
      kept.push_back(size);
    }
}

// Runs `work` on a dry TrainStep and returns what it cost.
template <typename Work>
PlanCosts dry_run(const ModelSource& source, const TrainOptions& options,
                  const MemoryPolicy& policy, const DeviceProfile& profile, Arena::Peak* peak,
                  Arena::Peak* far_peak, const Work& work) {
  const Buffer addresses = Buffer::addresses_only(2 * plan_capacity);
  Arena arena(addresses.data(), plan_capacity);
  Arena far(addresses.data() + plan_capacity, plan_capacity);
  PlanOps ops(arena, profile, &far);
  TrainStep step(source, options, policy, ops);
  ops.reset_costs();
  work(step);
  if (peak) *peak = arena.peak();
  if (far_peak) *far_peak = far.peak();
  return ops.costs();
}

}  // namespace

int64_t RunShape::most_tokens() const { return tokens_of(train.front()); }

std::vector<MicroBatch> largest_batches(std::vector<MicroBatch> batches) {
  std::map<std::pair<int64_t, int64_t>, std::vector<BatchSize>> layouts;
  for (size_t i = 0; i < batches.size(); ++i)
    layouts[layout_of(batches[i])].push_back(
        {i, tokens_of(batches[i]), trained_of(batches[i]), std::ssize(batches[i])});
  std::vector<BatchSize> kept;
  for (auto& [layout, sizes] : layouts) {
    keep_largest(sizes, &BatchSize::trained, kept);
    keep_largest(sizes, &BatchSize::documents, kept);
  }
  std::ranges::sort(kept, std::greater(), [](const BatchSize& size) {
    return std::tuple(size.tokens, size.trained, size.index);
  });
  const auto same = [](const BatchSize& a, const BatchSize& b) { return a.index == b.index; };
  kept.erase(std::unique(kept.begin(), kept.end(), same), kept.end());
  std::vector<MicroBatch> largest;
  for (const BatchSize& size : kept) largest.push_back(std::move(batches[size.index]));
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

PolicyCost policy_cost(const ModelSource& source, const TrainOptions& options,
                       const RunShape& shape, const DeviceProfile& profile,
                       const MemoryPolicy& policy) {
  Arena::Peak near, far;
  double seconds = 0;
  dry_run(source, options, policy, profile, &near, &far, [&](TrainStep& step) {
    const auto& ops = static_cast<const PlanOps&>(step.ops());
    step.train(std::span(shape.train).first(1), 1, 0);
    seconds = ops.costs().seconds;
    if (shape.train.size() > 1) step.train(std::span(shape.train).subspan(1), 1, 0);
    TrainStep::EvalResult ignored;
    for (const MicroBatch& batch : shape.eval) step.evaluate(batch, ignored);
  });
  return {near.bytes, far.bytes, seconds};
}

MemoryPlan plan_training(const ModelSource& source, const TrainOptions& options,
                         const RunShape& shape, const DeviceProfile& profile,
                         const MemoryPolicy& policy) {
  MemoryPlan plan;
  plan.policy = policy;
  plan.largest_micro_batch = shape.most_tokens();
  dry_run(source, options, policy, profile, &plan.peak, &plan.far_peak, [&](TrainStep& step) {
    step.train(shape.train, 1, 0);
    TrainStep::EvalResult ignored;
    for (const MicroBatch& batch : shape.eval) step.evaluate(batch, ignored);
  });

  const std::vector<MicroBatch> full_step(static_cast<size_t>(shape.micro_batches),
                                          shape.train.front());
  const auto one_step = [&](TrainStep& step) {
    plan.step_tokens = step.train(full_step, 1, 0).tokens;
  };
  plan.step = dry_run(source, options, policy, profile, nullptr, nullptr, one_step);
  const MemoryPolicy keep_all = recompute_every(0, source.spec.layers);
  const PlanCosts useful = dry_run(source, options, keep_all, profile, nullptr, nullptr, one_step);
  plan.useful_flops = useful.product_flops + useful.attention_flops;
  return plan;
}

}  // namespace nibble
