// The decoder: embedding, blocks, final norm, head and loss; forward and backward.
#pragma once

#include <cstdint>
#include <vector>

#include "lora/parameters.h"
#include "ops/ops.h"
#include "transformer/batch.h"
#include "transformer/block.h"
#include "transformer/policy.h"
#include "transformer/weights.h"

namespace nibble {

// Paths and sizes of all linear layers, in the order in which blocks index their adapters.
std::vector<LoraModule> lora_modules(const ModelSpec& spec);

class Model {
 public:
  // Views; all must outlive the model. lora may be null: the bare base.
  Model(const ModelSpec& spec, ModelWeights& weights, const LoraParameters* lora, DType compute,
        Ops& ops)
      : spec_(spec), weights_(weights), lora_(lora), compute_(compute), ops_(ops) {}

  const ModelSpec& spec() const { return spec_; }
  const ModelWeights& weights() const { return weights_; }
  DType compute() const { return compute_; }
  Ops& ops() const { return ops_; }

  // loss, f32 [1, 1], += sum of the batch's token losses; adapter gradients += gradient_scale, f32
  // [1, 1], times its gradient. dropout_step: LoraAdapter's.
  void forward_backward(const Batch& batch, const MemoryPolicy& policy, Tensor loss,
                        Tensor gradient_scale, Tensor dropout_step) const;
  // loss += sum of token losses, without gradients or dropout.
  void evaluate(const Batch& batch, Tensor loss, LogitsIn logits = LogitsIn::rows) const;
  // logits: f32 [rows, vocab] of the batch's last `logits.rows` tokens. caches: one per layer, or
  // empty; they are filled with the batch's keys and values and their lengths advance.
  void forward_logits(const Batch& batch, Tensor logits,
                      std::span<const KeyValueCache> caches = {}) const;

 private:
  Tensor hidden(const Batch& batch, const char* name, MemoryUse use) const;
  // x = the last block's output, keeping nothing.
  void forward_only(const Batch& batch, Tensor x, std::span<const KeyValueCache> caches) const;

  const ModelSpec& spec_;
  ModelWeights& weights_;
  const LoraParameters* lora_;
  DType compute_;
  Ops& ops_;
};

}  // namespace nibble
