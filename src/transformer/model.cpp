#include "transformer/model.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "transformer/checkpoints.h"

namespace nibble {

std::vector<LoraModule> lora_modules(const ModelSpec& spec) {
  std::vector<LoraModule> modules;
  for (int64_t layer = 0; layer < spec.layers; ++layer)
    for (const LinearSpec& linear : spec.linears)
      modules.push_back(
          {module_path(layer, linear.name), layer, linear.out_features, linear.in_features});
  return modules;
}

namespace {

// Backward ends at the lowest block that has an adapter.
size_t lowest_trained_block(const ModelSpec& spec, const LoraParameters* lora) {
  size_t lowest = static_cast<size_t>(spec.layers);
  for (size_t i = 0; lora && i < lora->modules().size(); ++i)
    if (lora->rank(i) > 0) lowest = std::min(lowest, static_cast<size_t>(lora->modules()[i].layer));
  return lowest;
}

// Every block forward, and backward from the last to the lowest that is trained.
std::vector<size_t> training_order(size_t layers, size_t lowest) {
  std::vector<size_t> order(layers);
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t i = layers; i-- > lowest;) order.push_back(i);
  return order;
}

}  // namespace

Tensor Model::hidden(const Batch& batch, const char* name, MemoryUse use) const {
  return ops_.arena().tensor(batch.tokens(), spec_.hidden_size, compute_, use, name);
}

void Model::forward_backward(const Batch& batch, const MemoryPolicy& policy, Tensor loss,
                             Tensor gradient_scale, Tensor dropout_step) const {
  Arena& arena = ops_.arena();
  const Arena::Scope scope(arena);
  const BlockContext context{spec_, lora_, batch, ops_, true, dropout_step};
  const auto layers = static_cast<size_t>(spec_.layers);
  const size_t lowest = lowest_trained_block(spec_, lora_);

  const Tensor dx = arena.tensor(batch.tokens(), spec_.hidden_size + gradient_tail(spec_, lora_),
                                 compute_, MemoryUse::working_set, "dx");
  Checkpoints checkpoints(spec_, lora_, policy, lowest, batch.tokens(), compute_, dx, ops_);
  weights_.blocks.begin(ops_, training_order(layers, lowest));

  Tensor x = checkpoints.write_input(0);
  ops_.embedding(x, weights_.embedding, batch.ids);
  checkpoints.input_written(0);
  for (size_t i = 0; i < layers; ++i) {
    const Tensor y = checkpoints.write_input(i + 1);
    block_forward(context, weights_.blocks.get(i), static_cast<int64_t>(i), y, x,
                  checkpoints.write_kept(i));
    checkpoints.kept_written(i);
    checkpoints.input_written(i + 1);
    weights_.blocks.release(i);
    x = y;
  }

  checkpoints.turn();
  {  // Final norm, head and loss: dx = d loss / d x.
    const Arena::Scope working(arena);
    const Tensor h = hidden(batch, "final norm", MemoryUse::working_set);
    const Tensor rstd = arena.tensor(batch.tokens(), 1, DType::f32, MemoryUse::working_set, "rstd");
    ops_.rms_norm_forward(h, rstd, x, weights_.final_norm, spec_.rms_norm_eps);
    ops_.linear_cross_entropy(loss, h, h, weights_.head, batch.targets, batch.trained,
                              gradient_scale, policy.logits);
    ops_.rms_norm_backward(dx.columns(0, spec_.hidden_size), false, h, x, weights_.final_norm,
                           rstd);
  }
  checkpoints.output_used();

  for (size_t i = layers; i-- > lowest;) {
    block_backward(context, weights_.blocks.get(i), static_cast<int64_t>(i), dx, i > lowest,
                   checkpoints.input(i), checkpoints.kept(i));
    checkpoints.done(i);
    weights_.blocks.release(i);
  }
}

void Model::forward_only(const Batch& batch, Tensor x,
                         std::span<const KeyValueCache> caches) const {
  Arena& arena = ops_.arena();
  const Arena::Scope scope(arena);
  const BlockContext context{spec_, lora_, batch, ops_};
  const auto layers = static_cast<size_t>(spec_.layers);
  // Two that take turns; x has the last block's output.
  Tensor from = hidden(batch, "block output", MemoryUse::working_set), to = x;
  if (layers % 2 == 0) std::swap(from, to);
  weights_.blocks.begin(ops_, training_order(layers, layers));
  ops_.embedding(from, weights_.embedding, batch.ids);
  for (size_t i = 0; i < layers; ++i) {
    block_forward(context, weights_.blocks.get(i), static_cast<int64_t>(i), to, from, {},
                  caches.empty() ? nullptr : &caches[i]);
    weights_.blocks.release(i);
    std::swap(from, to);
  }
}

void Model::evaluate(const Batch& batch, Tensor loss, LogitsIn logits) const {
  Arena& arena = ops_.arena();
  const Arena::Scope scope(arena);
  const Tensor x = hidden(batch, "hidden state", MemoryUse::working_set);
  forward_only(batch, x, {});
  const Tensor rstd = arena.tensor(batch.tokens(), 1, DType::f32, MemoryUse::working_set, "rstd");
  ops_.rms_norm_forward(x, rstd, x, weights_.final_norm, spec_.rms_norm_eps);
  ops_.linear_cross_entropy(loss, {}, x, weights_.head, batch.targets, batch.trained, {}, logits);
}

void Model::forward_logits(const Batch& batch, Tensor logits,
                           std::span<const KeyValueCache> caches) const {
  Arena& arena = ops_.arena();
  const Arena::Scope scope(arena);
  const Tensor x = hidden(batch, "hidden state", MemoryUse::working_set);
  forward_only(batch, x, caches);
  const Tensor last = x.row_range(x.rows - logits.rows, logits.rows);
  const Tensor rstd = arena.tensor(last.rows, 1, DType::f32, MemoryUse::working_set, "rstd");
  ops_.rms_norm_forward(last, rstd, last, weights_.final_norm, spec_.rms_norm_eps);
  ops_.logits(logits, last, weights_.head);
}

}  // namespace nibble
