#include "transformer/checkpoints.h"

#include <algorithm>

namespace nibble {

Passage::Passage(Ops& ops, std::vector<Tensor> far, std::vector<Tensor> slots, size_t reading,
                 bool rests)
    : ops_(ops),
      far_(std::move(far)),
      slots_(std::move(slots)),
      reading_(reading),
      rests_(rests),
      stored_(far_.size()),
      fetched_(far_.size()) {}

// In turns, so that the last item has slot 0.
Tensor& Passage::writing_slot(size_t item) {
  const size_t before_last = far_.size() - 1 - item;
  return slots_[(slots_.size() - before_last % slots_.size()) % slots_.size()];
}

// Slot of the item that is read after `distance` others: a resting item keeps slot 0 at first.
Tensor Passage::near(size_t item) const {
  const size_t distance = readable() - 1 - item;
  const Tensor& slot = slots_[(distance + (rests_ && reading_ > 1 ? 1 : 0)) % reading_];
  return dense_tensor(slot.data, far_[item].rows, far_[item].cols, far_[item].dtype);
}

Tensor Passage::write(size_t item) {
  if (item >= slots_.size()) ops_.wait(stored_[item - slots_.size()]);
  const Tensor& slot = writing_slot(item);
  if (!far_[item]) return slot;
  return dense_tensor(slot.data, far_[item].rows, far_[item].cols, far_[item].dtype);
}

void Passage::written(size_t item) {
  if (!far_[item]) return;
  const Tensor& slot = writing_slot(item);
  stored_[item] = ops_.store(
      far_[item], dense_tensor(slot.data, far_[item].rows, far_[item].cols, far_[item].dtype));
}

void Passage::fetch(size_t distance) {
  if (distance >= readable()) return;
  const size_t item = readable() - 1 - distance;
  if (far_[item]) fetched_[item] = ops_.fetch(near(item), far_[item]);
}

void Passage::turn() {
  for (const Ops::Ticket& ticket : stored_) ops_.wait(ticket);  // most have ended long ago
  const size_t free = reading_ - (rests_ ? 1 : 0);
  for (size_t distance = 0; distance < free; ++distance) fetch(distance);
}

void Passage::leave() { fetch(reading_ - 1); }

Tensor Passage::read(size_t item) {
  ops_.wait(fetched_[item]);
  return near(item);
}

void Passage::done(size_t item) { fetch(readable() - 1 - item + reading_); }

namespace {

size_t bytes_of(const ModelSpec& spec, const LoraParameters* lora, size_t layer, int64_t tokens,
                DType compute, Keep keep) {
  Arena measure(nullptr, size_t{1} << 62);
  (void)BlockActivations::take(spec, lora, static_cast<int64_t>(layer), tokens, compute, keep,
                               MemoryUse::checkpoints, measure);
  return measure.used();
}

}  // namespace

Checkpoints::Checkpoints(const ModelSpec& spec, const LoraParameters* lora,
                         const MemoryPolicy& policy, size_t lowest, int64_t tokens, DType compute,
                         Tensor dx, Ops& ops)
    : spec_(spec), lora_(lora), policy_(policy), tokens_(tokens), compute_(compute) {
  constexpr MemoryUse use = MemoryUse::checkpoints;
  Arena& arena = ops.arena();
  const auto layers = static_cast<size_t>(spec.layers);
  const auto hidden = [&](Arena& from, const char* name) {
    return from.tensor(tokens, spec.hidden_size, compute, use, name);
  };
  const auto far = [&](size_t i) { return i >= lowest && policy.blocks[i].input == Place::far; };
  const auto keeps = [&](size_t i) { return i >= lowest && policy.blocks[i].keep != Keep::input; };
  if (policy.uses_far_memory()) far_scope_.emplace(ops.far());

  std::vector<Tensor> far_inputs, far_kept;
  size_t most_kept = 0;
  for (size_t i = 0; i < layers; ++i) {
    const bool near = i >= lowest && !far(i);
    near_inputs_.push_back(near ? hidden(arena, "block input") : Tensor{});
    input_items_.push_back(near ? nowhere : far_inputs.size());
    if (!near) far_inputs.push_back(far(i) ? hidden(ops.far(), "block input") : Tensor{});

    const Keep keep = policy.blocks[i].keep;
    const bool kept_far = keeps(i) && policy.blocks[i].kept == Place::far;
    near_kept_.push_back(keeps(i) && !kept_far
                             ? BlockActivations::take(spec, lora, static_cast<int64_t>(i), tokens,
                                                      compute, keep, use, arena)
                             : BlockActivations{});
    kept_items_.push_back(kept_far ? far_kept.size() : nowhere);
    if (!kept_far) continue;
    const size_t bytes = bytes_of(spec, lora, i, tokens, compute, keep);
    most_kept = std::max(most_kept, bytes);
    far_kept.push_back(
        ops.far().tensor(1, static_cast<int64_t>(bytes), DType::u8, use, "kept activations"));
  }

  const auto passing = static_cast<size_t>(policy.passing);
  if (far_inputs.empty()) {
    near_inputs_.push_back(hidden(arena, "last output"));
    input_items_.push_back(nowhere);
  } else {
    near_inputs_.emplace_back();
    input_items_.push_back(far_inputs.size());
    far_inputs.emplace_back();  // the last output rests
    std::vector<Tensor> slots;
    for (size_t i = 0; i < passing; ++i) slots.push_back(hidden(arena, "passing block input"));
    slots.push_back(dense_tensor(dx.data, tokens, spec.hidden_size, compute));
    inputs_.emplace(ops, std::move(far_inputs), std::move(slots), passing, true);
  }
  if (!far_kept.empty()) {
    std::vector<Tensor> slots;
    for (size_t i = 0; i < passing; ++i)
      slots.push_back(arena.tensor(1, static_cast<int64_t>(most_kept), DType::u8, use,
                                   "passing kept activations"));
    kept_.emplace(ops, std::move(far_kept), std::move(slots), passing, false);
  }
}

BlockActivations Checkpoints::view(size_t i, Tensor bytes) const {
  Arena place(bytes.raw(), static_cast<size_t>(bytes.bytes()));
  return BlockActivations::take(spec_, lora_, static_cast<int64_t>(i), tokens_, compute_,
                                policy_.blocks[i].keep, MemoryUse::checkpoints, place);
}

Tensor Checkpoints::write_input(size_t i) {
  if (input_items_[i] == nowhere) return near_inputs_[i];
  const Tensor slot = inputs_->write(input_items_[i]);
  return dense_tensor(slot.data, tokens_, spec_.hidden_size, compute_);
}

void Checkpoints::input_written(size_t i) {
  if (input_items_[i] != nowhere) inputs_->written(input_items_[i]);
}

BlockActivations Checkpoints::write_kept(size_t i) {
  if (kept_items_[i] == nowhere) return near_kept_[i];
  return view(i, kept_->write(kept_items_[i]));
}

void Checkpoints::kept_written(size_t i) {
  if (kept_items_[i] != nowhere) kept_->written(kept_items_[i]);
}

void Checkpoints::turn() {
  if (inputs_) inputs_->turn();
  if (kept_) kept_->turn();
}

void Checkpoints::output_used() {
  if (inputs_) inputs_->leave();
}

Tensor Checkpoints::input(size_t i) {
  return input_items_[i] == nowhere ? near_inputs_[i] : inputs_->read(input_items_[i]);
}

BlockActivations Checkpoints::kept(size_t i) {
  return kept_items_[i] == nowhere ? near_kept_[i] : view(i, kept_->read(kept_items_[i]));
}

void Checkpoints::done(size_t i) {
  if (input_items_[i] != nowhere) inputs_->done(input_items_[i]);
  if (kept_items_[i] != nowhere) kept_->done(kept_items_[i]);
}

}  // namespace nibble
