// What lies between a block's forward and its backward: the input of each block and what its policy
// keeps, near or far.
#pragma once

#include <optional>
#include <vector>

#include "transformer/block.h"

namespace nibble {

// Tensors that pass through a few near slots on their way out to far memory, when they are written,
// and back, last in first out, when they are read.
class Passage {
 public:
  // far: of each item, in the order of writing; an empty one is written and never read. slots: near
  // memory; the first `reading` of them serve reading, too. rests: the last item is an empty one
  // that rests in slot 0 until leave().
  Passage(Ops& ops, std::vector<Tensor> far, std::vector<Tensor> slots, size_t reading, bool rests);

  Tensor write(size_t item);  // its place, free to be written
  void written(size_t item);
  void turn();   // from writing to reading: free slots are filled
  void leave();  // the resting item is not used any more
  Tensor read(size_t item);
  void done(size_t item);  // with reading: the next one comes into its slot

 private:
  Tensor& writing_slot(size_t item);
  size_t readable() const { return far_.size() - (rests_ ? 1 : 0); }
  void fetch(size_t distance);  // the item that is read after so many others
  Tensor near(size_t item) const;

  Ops& ops_;
  std::vector<Tensor> far_, slots_;
  size_t reading_;
  bool rests_;
  std::vector<Ops::Ticket> stored_, fetched_;  // by item
};

class Checkpoints {
 public:
  // Takes near and far memory until it ends, in the caller's Arena::Scope. Blocks below `lowest`
  // leave nothing. dx: near memory of a hidden state that is free until turn().
  Checkpoints(const ModelSpec& spec, const LoraParameters* lora, const MemoryPolicy& policy,
              size_t lowest, int64_t tokens, DType compute, Tensor dx, Ops& ops);

  // Forward: where block i's input is to be written, and that it has been; of i = layers, the last
  // block's output. Likewise what the block keeps.
  Tensor write_input(size_t i);
  void input_written(size_t i);
  BlockActivations write_kept(size_t i);
  void kept_written(size_t i);
  void turn();         // forward has ended: only the last output is in use
  void output_used();  // and now it is not
  // Backward, from the last block to the lowest.
  Tensor input(size_t i);
  BlockActivations kept(size_t i);
  void done(size_t i);

 private:
  static constexpr size_t nowhere = static_cast<size_t>(-1);
  BlockActivations view(size_t i, Tensor bytes) const;

  const ModelSpec& spec_;
  const LoraParameters* lora_;
  const MemoryPolicy& policy_;
  int64_t tokens_;
  DType compute_;
  std::optional<Arena::Scope> far_scope_;
  std::vector<Tensor> near_inputs_;  // empty where they pass
  std::vector<size_t> input_items_;  // of inputs_, or nowhere
  std::vector<BlockActivations> near_kept_;
  std::vector<size_t> kept_items_;  // of kept_, or nowhere
  std::optional<Passage> inputs_, kept_;
};

}  // namespace nibble
