#include "transformer/block_store.h"

#include <algorithm>

#include "core/error.h"

namespace nibble {
namespace {

// The weights with every tensor of the far image moved to the same place of the near one.
BlockWeights moved(const BlockWeights& far, Tensor from, Tensor to) {
  BlockWeights near = far;
  const auto move = [&](Tensor& x) {
    const auto* begin = from.raw();
    if (x.data && x.raw() >= begin && x.raw() < begin + from.bytes())
      x.data = to.raw() + (x.raw() - begin);
  };
  for (Tensor* x : {&near.input_norm, &near.post_attention_norm, &near.q_norm, &near.k_norm})
    move(*x);
  for (FrozenLinear& linear : near.linears) {
    QuantizedMatrix& q = linear.quantized;
    for (Tensor* x : {&linear.dense, &linear.bias, &q.codes, &q.code_map, &q.absmax, &q.scale_codes,
                      &q.nested_absmax, &q.nested_map, &q.offset})
      move(*x);
  }
  return near;
}

}  // namespace

void BlockStore::take_slots(Arena& arena) {
  int64_t bytes = 0;
  size_t far = 0;
  for (const Block& block : blocks_) {
    bytes = std::max(bytes, block.image ? block.image.bytes() : 0);
    far += block.image ? 1 : 0;
  }
  for (size_t i = 0; i < std::min(far, most_slots); ++i) {
    Slot slot;
    slot.memory = arena.tensor(1, bytes, DType::u8, MemoryUse::base_weights, "passing block");
    slots_.push_back(std::move(slot));
  }
}

void BlockStore::begin(Ops& ops, std::vector<size_t> order) {
  ops_ = &ops;
  order_ = std::move(order);
  position_ = 0;
  for (Slot& slot : slots_) slot.in_use = false;  // of a pass that ended early
  fetch_ahead();
}

BlockStore::Slot* BlockStore::slot_of(size_t block) {
  const auto found = std::ranges::find(slots_, block, &Slot::block);
  return found == slots_.end() ? nullptr : &*found;
}

size_t BlockStore::next_use(size_t block) const {
  const auto from = order_.begin() + static_cast<std::ptrdiff_t>(position_);
  return static_cast<size_t>(std::find(from, order_.end(), block) - order_.begin());
}

// Fetches what is used next, into slots that are not in use and hold what is used later than it.
void BlockStore::fetch_ahead() {
  size_t wanted = 0;
  for (size_t i = position_; i < order_.size() && wanted < slots_.size(); ++i) {
    const size_t block = order_[i];
    const Tensor image = blocks_[block].image;
    if (!image) continue;
    ++wanted;
    if (slot_of(block)) continue;
    Slot* farthest = nullptr;
    for (Slot& slot : slots_) {
      if (slot.in_use) continue;
      if (slot.block == none) {
        farthest = &slot;
        break;
      }
      if (next_use(slot.block) > i &&
          (!farthest || next_use(slot.block) > next_use(farthest->block)))
        farthest = &slot;
    }
    if (!farthest) return;
    const Tensor place = farthest->memory.columns(0, image.cols);
    farthest->block = block;
    farthest->weights = moved(blocks_[block].weights, image, place);
    farthest->ticket = ops_->fetch(place, image);
  }
}

const BlockWeights& BlockStore::get(size_t i) {
  if (position_ >= order_.size() || order_[position_] != i)
    fail(ErrorKind::internal, "block store: block {} is not the next of the pass", i);
  ++position_;
  if (!blocks_[i].image) return blocks_[i].weights;
  Slot* slot = slot_of(i);
  if (!slot) fail(ErrorKind::internal, "block store: block {} was not fetched", i);
  slot->in_use = true;
  ops_->wait(slot->ticket);
  return slot->weights;
}

void BlockStore::release(size_t i) {
  if (Slot* slot = blocks_[i].image ? slot_of(i) : nullptr) slot->in_use = false;
  fetch_ahead();
}

}  // namespace nibble
