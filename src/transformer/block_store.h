// The weights of all blocks, as a pass over the model takes them: some lie near, the others are
// fetched through a few near slots in the order in which they are used.
#pragma once

#include <vector>

#include "ops/ops.h"

namespace nibble {

struct BlockWeights {
  Tensor input_norm, post_attention_norm;  // f32 [1, hidden]
  Tensor q_norm, k_norm;                   // f32 [1, head_dim], or empty
  std::vector<FrozenLinear> linears;       // as ModelSpec::linears
};

class BlockStore {
 public:
  static constexpr size_t most_slots = 3;  // one in use, two on their way

  // Near weights.
  void add(BlockWeights weights) { blocks_.push_back({std::move(weights), {}}); }
  // Far weights, whose tensors lie in `image`, u8 [1, bytes], but for tables that are near.
  void add_far(BlockWeights weights, Tensor image) {
    blocks_.push_back({std::move(weights), image});
  }
  // Takes the near slots; after the last block was added.
  void take_slots(Arena& arena);

  size_t size() const { return blocks_.size(); }
  // Where they lie, near or far.
  const BlockWeights& operator[](size_t i) const { return blocks_[i].weights; }

  // A pass uses blocks in this order, each between get() and release(); what it uses first may be
  // near from the pass before.
  void begin(Ops& ops, std::vector<size_t> order);
  const BlockWeights& get(size_t i);
  void release(size_t i);

 private:
  static constexpr size_t none = static_cast<size_t>(-1);
  struct Block {
    BlockWeights weights;
    Tensor image;  // far; empty for near weights
  };
  struct Slot {
    Tensor memory;  // u8 [1, bytes]
    size_t block = none;
    BlockWeights weights;
    Ops::Ticket ticket;
    bool in_use = false;
  };
  Slot* slot_of(size_t block);
  size_t next_use(size_t block) const;  // position in order_; its size: not any more
  void fetch_ahead();

  Ops* ops_ = nullptr;
  std::vector<Block> blocks_;
  std::vector<Slot> slots_;
  std::vector<size_t> order_;
  size_t position_ = 0;  // in order_: of the next get()
};

}  // namespace nibble
