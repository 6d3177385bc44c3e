// One decoder block: forward and backward, beside each other.
//
//   h1 = norm(x)                  q, k, v = linear(h1); rope
//   x_mid = x + o(attention(q, k, v))
//   h2 = norm(x_mid)              gate, up = linear(h2)
//   y = x_mid + down(silu(gate) * up)
//
// Everything but attention is computed for Ops::row_tile() rows at a time: what is not kept of it
// takes memory for one tile, however long the batch is.
#pragma once

#include <vector>

#include "lora/parameters.h"
#include "ops/ops.h"
#include "transformer/batch.h"
#include "transformer/policy.h"
#include "transformer/weights.h"

namespace nibble {

// What forward leaves for backward; tensors that its level does not keep are empty. C [T, ...] but
// the statistics. Where a group of linear layers reads or whose gradient it is, the tail of its
// adapters lies behind.
struct BlockActivations {
  Tensor attention;       // [T, q + tail]
  Tensor lse;             // f32 [T, heads]
  Tensor qkv;             // [T, q + 2 kv], what the projections give
  Tensor q, k;            // [T, q], [T, kv] after q/k norm; empty without one: rotated in qkv
  Tensor q_rstd, k_rstd;  // f32 [T, heads], [T, kv_heads], with q and k
  Tensor x_mid;           // [T, hidden]
  Tensor gate_up;         // [T, 2 intermediate + tail]; backward puts its gradient here
  Tensor h1, h2;          // [T, hidden + tail]
  Tensor rstd1, rstd2;    // f32 [T, 1]
  Tensor act;             // [T, intermediate + tail]

  // Takes what `keep` keeps and `present` lacks.
  static BlockActivations take(const ModelSpec& spec, const LoraParameters* lora, int64_t layer,
                               int64_t tokens, DType compute, Keep keep, MemoryUse use,
                               Arena& arena, const BlockActivations& present = {});
  std::vector<Tensor> tensors() const;  // those that are kept
};

// Columns behind dx that block_backward needs as scratch, whatever the layer.
int64_t gradient_tail(const ModelSpec& spec, const LoraParameters* lora);

// Keys and values of all earlier tokens of one document, for generation.
struct KeyValueCache {
  Tensor k, v;  // C [capacity, kv]
};

// What all blocks of one pass share.
struct BlockContext {
  const ModelSpec& spec;
  const LoraParameters* lora;  // null: the bare base model
  const Batch& batch;
  Ops& ops;
  bool training = false;     // dropout is active
  Tensor dropout_step = {};  // LoraAdapter's
};

// y = block(x); fills what is kept. x, y: C [T, hidden], apart. cache, of the one
// document that the batch continues, may be null.
void block_forward(const BlockContext& context, const BlockWeights& weights, int64_t layer,
                   Tensor y, Tensor x, const BlockActivations& kept,
                   const KeyValueCache* cache = nullptr);

// Computes again what forward did not keep. dx, C [T, hidden + gradient_tail], holds the gradient
// of y on entry and that of x on return, or nothing of use when `input_gradient` is false: no
// adapter lies below. Adapter gradients are added to. What was kept is overwritten. x as in
// forward.
void block_backward(const BlockContext& context, const BlockWeights& weights, int64_t layer,
                    Tensor dx, bool input_gradient, Tensor x, const BlockActivations& kept);

}  // namespace nibble
