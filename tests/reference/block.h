// A whole decoder block with the loss on top: attention and gated MLP, each behind an RMS norm and
// added to the residual stream; optionally with norms of each head's q and k (Qwen3).
#pragma once

#include <span>

#include "reference/attention.h"
#include "reference/gated_silu.h"
#include "reference/linear_cross_entropy.h"
#include "reference/lora_linear.h"
#include "reference/rms_norm.h"
#include "reference/rope.h"

namespace nibble::reference {

template <typename T>
struct Block {
  Matrix<T> attention_norm, mlp_norm, final_norm;  // [1, hidden]
  Matrix<T> q_norm, k_norm;                        // [1, head_dim], or empty
  LoraLinear<T> q, k, v, o, gate, up, down;
  Matrix<T> head;      // [vocabulary, hidden]
  Matrix<T> cos, sin;  // [tokens, rotary_dim / 2]
  double epsilon = 1e-5;
};

// What backward needs of forward, by the names of the arrow.
template <typename T>
struct BlockActivations {
  Matrix<T> x;
  RmsNorm<T> normed;
  LoraLinearOutput<T> q, k, v;
  RmsNorm<T> q_normed, k_normed;
  Matrix<T> q_turned, k_turned;
  Attention<T> attention;
  LoraLinearOutput<T> o;
  Matrix<T> middle;  // x + o
  RmsNorm<T> middle_normed;
  LoraLinearOutput<T> gate, up;
  Matrix<T> activated;
  LoraLinearOutput<T> down;
  Matrix<T> y;  // middle + down
  RmsNorm<T> y_normed;
  LinearCrossEntropy<T> loss;
};

template <typename T>
BlockActivations<T> block_forward(const Matrix<T>& x, const Block<T>& block,
                                  const Documents& documents, const AttentionShape& shape,
                                  std::span<const int32_t> labels) {
  BlockActivations<T> s;
  s.x = x;
  s.normed = rms_norm_forward(x, block.attention_norm, block.epsilon);
  s.q = lora_linear_forward(s.normed.y, block.q);
  s.k = lora_linear_forward(s.normed.y, block.k);
  s.v = lora_linear_forward(s.normed.y, block.v);
  const bool norms = !block.q_norm.empty();
  if (norms) s.q_normed = rms_norm_forward(s.q.y, block.q_norm, block.epsilon);
  if (norms) s.k_normed = rms_norm_forward(s.k.y, block.k_norm, block.epsilon);
  s.q_turned = rope_forward(norms ? s.q_normed.y : s.q.y, block.cos, block.sin, shape.head_dim);
  s.k_turned = rope_forward(norms ? s.k_normed.y : s.k.y, block.cos, block.sin, shape.head_dim);
  s.attention = attention_forward(s.q_turned, s.k_turned, s.v.y, documents, shape);
  s.o = lora_linear_forward(s.attention.out, block.o);
  s.middle = x + s.o.y;

  s.middle_normed = rms_norm_forward(s.middle, block.mlp_norm, block.epsilon);
  s.gate = lora_linear_forward(s.middle_normed.y, block.gate);
  s.up = lora_linear_forward(s.middle_normed.y, block.up);
  s.activated = gated_silu_forward(s.gate.y, s.up.y);
  s.down = lora_linear_forward(s.activated, block.down);
  s.y = s.middle + s.down.y;

  s.y_normed = rms_norm_forward(s.y, block.final_norm, block.epsilon);
  s.loss = linear_cross_entropy(s.y_normed.y, block.head, labels, 1);
  return s;
}

template <typename T>
struct BlockGradient {
  Matrix<T> dx;
  LoraLinearGradient<T> q, k, v, o, gate, up, down;
};

// The gradient of the loss; the same lines as forward, in reverse.
template <typename T>
BlockGradient<T> block_backward(const BlockActivations<T>& s, const Block<T>& block,
                                const Documents& documents, const AttentionShape& shape) {
  BlockGradient<T> g;
  const Matrix<T> dy = rms_norm_backward(s.loss.dx, s.y, block.final_norm, s.y_normed.rstd);

  g.down = lora_linear_backward(dy, s.activated, s.down.t, block.down);
  const auto dactivated = gated_silu_backward(g.down.dx, s.gate.y, s.up.y);
  g.gate = lora_linear_backward(dactivated.dgate, s.middle_normed.y, s.gate.t, block.gate);
  g.up = lora_linear_backward(dactivated.dup, s.middle_normed.y, s.up.t, block.up);
  const Matrix<T> dmiddle =
      dy + rms_norm_backward(g.gate.dx + g.up.dx, s.middle, block.mlp_norm, s.middle_normed.rstd);

  g.o = lora_linear_backward(dmiddle, s.attention.out, s.o.t, block.o);
  const auto dattention = attention_backward(g.o.dx, s.attention.out, s.attention.lse, s.q_turned,
                                             s.k_turned, s.v.y, documents, shape);
  Matrix<T> dq = rope_backward(dattention.dq, block.cos, block.sin, shape.head_dim);
  Matrix<T> dk = rope_backward(dattention.dk, block.cos, block.sin, shape.head_dim);
  if (!block.q_norm.empty()) {
    dq = rms_norm_backward(dq, s.q.y, block.q_norm, s.q_normed.rstd);
    dk = rms_norm_backward(dk, s.k.y, block.k_norm, s.k_normed.rstd);
  }
  g.q = lora_linear_backward(dq, s.normed.y, s.q.t, block.q);
  g.k = lora_linear_backward(dk, s.normed.y, s.k.t, block.k);
  g.v = lora_linear_backward(dattention.dv, s.normed.y, s.v.t, block.v);
  g.dx = dmiddle +
         rms_norm_backward(g.q.dx + g.k.dx + g.v.dx, s.x, block.attention_norm, s.normed.rstd);
  return g;
}

}  // namespace nibble::reference
