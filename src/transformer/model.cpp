#include "transformer/model.h"

#include <algorithm>
#include <optional>

namespace nibble {

CheckpointPolicy recompute_every(int64_t n, int64_t layers) {
  CheckpointPolicy policy(static_cast<size_t>(layers), false);
  for (int64_t i = 0; n > 0 && i < layers; i += n) policy[static_cast<size_t>(i)] = true;
  return policy;
}

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

}  // namespace

Tensor Model::hidden(const Batch& batch, const char* name, MemoryUse use) const {
  return ops_.arena().tensor(batch.tokens(), spec_.hidden_size, compute_, use, name);
}

void Model::forward_backward(const Batch& batch, const CheckpointPolicy& policy, Tensor loss,
                             float gradient_scale, uint64_t dropout_step) const {
  Arena& arena = ops_.arena();
  const Arena::Scope scope(arena);
  const BlockContext context{spec_, lora_, batch, ops_, true, dropout_step};
  const auto layers = static_cast<size_t>(spec_.layers);
  const size_t lowest = lowest_trained_block(spec_, lora_);
  const auto activations = [&](size_t layer, MemoryUse use) {
    return BlockActivations(spec_, lora_, static_cast<int64_t>(layer), batch.tokens(), compute_,
                            use, arena);
  };

  // Forward. x[i] is block i's input; what a kept block leaves lies above its output.
  const Tensor dx = arena.tensor(batch.tokens(), spec_.hidden_size + gradient_tail(spec_, lora_),
                                 compute_, MemoryUse::working_set, "dx");
  std::vector<Tensor> x{hidden(batch, "block input", MemoryUse::checkpoints)};
  std::vector<std::optional<BlockActivations>> kept(layers);
  std::vector<size_t> marks;
  ops_.embedding(x[0], weights_.embedding, batch.ids);
  for (size_t i = 0; i < layers; ++i) {
    marks.push_back(arena.mark());
    x.push_back(hidden(batch, "block input", MemoryUse::checkpoints));
    const auto layer = static_cast<int64_t>(i);
    if (policy[i] || i < lowest) {
      const Arena::Scope working(arena);
      BlockActivations a = activations(i, MemoryUse::working_set);
      block_forward(context, weights_.blocks[i], layer, x[i + 1], x[i], a);
    } else {
      kept[i] = activations(i, MemoryUse::checkpoints);
      block_forward(context, weights_.blocks[i], layer, x[i + 1], x[i], *kept[i]);
    }
  }

  {  // Final norm, head and loss: dx = d loss / d x[layers].
    const Arena::Scope working(arena);
    const Tensor h = hidden(batch, "final norm", MemoryUse::working_set);
    const Tensor rstd = arena.tensor(batch.tokens(), 1, DType::f32, MemoryUse::working_set, "rstd");
    ops_.rms_norm_forward(h, rstd, x[layers], weights_.final_norm, spec_.rms_norm_eps);
    ops_.linear_cross_entropy(loss, h, h, weights_.head, batch.targets, batch.trained,
                              gradient_scale);
    ops_.rms_norm_backward(dx.columns(0, spec_.hidden_size), false, h, x[layers],
                           weights_.final_norm, rstd);
  }

  // Backward, from the last block to the lowest trained one; each block's memory is returned after
  // it.
  for (size_t i = layers; i-- > lowest;) {
    const auto layer = static_cast<int64_t>(i);
    if (policy[i]) {
      arena.release_to(marks[i]);
      BlockActivations a = activations(i, MemoryUse::working_set);
      block_forward(context, weights_.blocks[i], layer, Tensor{}, x[i], a);
      block_backward(context, weights_.blocks[i], layer, dx, i > lowest, x[i], a);
    } else {
      block_backward(context, weights_.blocks[i], layer, dx, i > lowest, x[i], *kept[i]);
    }
    arena.release_to(marks[i]);
  }
}

void Model::forward_only(const Batch& batch, Tensor x, std::vector<KeyValueCache>& caches) const {
  Arena& arena = ops_.arena();
  const Arena::Scope scope(arena);
  const BlockContext context{spec_, lora_, batch, ops_};
  const Tensor y = hidden(batch, "block output", MemoryUse::working_set);
  ops_.embedding(x, weights_.embedding, batch.ids);
  for (int64_t layer = 0; layer < spec_.layers; ++layer) {
    const auto i = static_cast<size_t>(layer);
    const Arena::Scope working(arena);
    // Ranks may differ from layer to layer, and with them t.
    BlockActivations a(spec_, lora_, layer, batch.tokens(), compute_, MemoryUse::working_set,
                       arena);
    block_forward(context, weights_.blocks[i], layer, y, x, a,
                  caches.empty() ? nullptr : &caches[i]);
    ops_.copy(x, y);
    if (!caches.empty()) caches[i].length += batch.tokens();
  }
}

void Model::evaluate(const Batch& batch, Tensor loss) const {
  Arena& arena = ops_.arena();
  const Arena::Scope scope(arena);
  std::vector<KeyValueCache> no_caches;
  const Tensor x = hidden(batch, "hidden state", MemoryUse::working_set);
  forward_only(batch, x, no_caches);
  const Tensor rstd = arena.tensor(batch.tokens(), 1, DType::f32, MemoryUse::working_set, "rstd");
  ops_.rms_norm_forward(x, rstd, x, weights_.final_norm, spec_.rms_norm_eps);
  ops_.linear_cross_entropy(loss, {}, x, weights_.head, batch.targets, batch.trained, 0);
}

void Model::forward_logits(const Batch& batch, Tensor logits,
                           std::vector<KeyValueCache>& caches) const {
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
