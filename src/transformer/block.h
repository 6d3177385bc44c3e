// One decoder block: forward and backward, beside each other.
//
//   h1 = norm(x)                  q, k, v = linear(h1); rope
//   x_mid = x + o(attention(q, k, v))
//   h2 = norm(x_mid)              gate, up = linear(h2)
//   y = x_mid + down(silu(gate) * up)
#pragma once

#include "lora/parameters.h"
#include "ops/ops.h"
#include "transformer/batch.h"
#include "transformer/weights.h"

namespace nibble {

// What forward leaves for backward, and scratch for both. All C [T, ...] but the statistics. Where
// a group of linear layers reads or whose gradient it is, the tail of its adapters lies behind.
struct BlockActivations {
  Tensor h1;              // [T, hidden + tail]
  Tensor rstd1;           // f32 [T, 1]
  Tensor qkv;             // [T, q + 2 kv], what the projections give
  Tensor q, k, v;         // after q/k norm and rotation; views of qkv where there is no norm
  Tensor q_rstd, k_rstd;  // f32 [T, heads], [T, kv_heads], or empty
  Tensor attention;       // [T, q + tail]
  Tensor lse;             // f32 [T, heads]
  Tensor x_mid;           // [T, hidden]
  Tensor h2;              // [T, hidden + tail]
  Tensor rstd2;           // f32 [T, 1]
  Tensor gate_up;         // [T, 2 intermediate + tail]; backward puts its gradient here
  Tensor gate, up;        // views of gate_up
  Tensor act;             // [T, intermediate + tail]

  BlockActivations(const ModelSpec& spec, const LoraParameters* lora, int64_t layer, int64_t tokens,
                   DType compute, MemoryUse use, Arena& arena);
};

// Columns behind dx that block_backward needs as scratch, whatever the layer.
int64_t gradient_tail(const ModelSpec& spec, const LoraParameters* lora);

// Keys and values of all earlier tokens of one document, for generation.
struct KeyValueCache {
  Tensor k, v;         // C [capacity, kv]
  int64_t length = 0;  // rows filled before this batch
};

// What all blocks of one pass share.
struct BlockContext {
  const ModelSpec& spec;
  const LoraParameters* lora;  // null: the bare base model
  const Batch& batch;
  Ops& ops;
  bool training = false;      // dropout is active
  uint64_t dropout_step = 0;  // differs for every micro-batch of a run
};

// y = block(x). With y empty the last product is skipped: backward's recomputation needs only the
// activations. x, y: C [T, hidden], apart. cache may be null.
void block_forward(const BlockContext& context, const BlockWeights& weights, int64_t layer,
                   Tensor y, Tensor x, BlockActivations& activations,
                   KeyValueCache* cache = nullptr);

// dx, C [T, hidden + gradient_tail], holds the gradient of y on entry and that of x on return, or
// nothing of use when `input_gradient` is false: no adapter lies below. Adapter gradients are added
// to. Activations are overwritten. x as in forward.
void block_backward(const BlockContext& context, const BlockWeights& weights, int64_t layer,
                    Tensor dx, bool input_gradient, Tensor x, BlockActivations& activations);

}  // namespace nibble
