#include "transformer/block.h"

#include <cmath>

namespace nibble {
namespace {

// q, k and v in one allocation: columns of a fused projection's output, or three dense pieces.
struct QkvViews {
  Tensor q, k, v;
  QkvViews(Tensor qkv, const ModelSpec& spec) {
    const int64_t nq = spec.q_size(), nkv = spec.kv_size();
    if (spec.fused_qkv) {
      q = qkv.columns(0, nq);
      k = qkv.columns(nq, nkv);
      v = qkv.columns(nq + nkv, nkv);
    } else {
      const Tensor flat = qkv.reshaped(1, qkv.size());
      q = flat.columns(0, qkv.rows * nq).reshaped(qkv.rows, nq);
      k = flat.columns(qkv.rows * nq, qkv.rows * nkv).reshaped(qkv.rows, nkv);
      v = flat.columns(qkv.rows * (nq + nkv), qkv.rows * nkv).reshaped(qkv.rows, nkv);
    }
  }
};

struct GateUpViews {
  Tensor gate, up;
  GateUpViews(Tensor gate_up, const ModelSpec& spec) {
    const int64_t n = spec.intermediate_size;
    if (spec.fused_gate_up) {
      gate = gate_up.columns(0, n);
      up = gate_up.columns(n, n);
    } else {
      const Tensor flat = gate_up.reshaped(1, gate_up.size());
      gate = flat.columns(0, gate_up.rows * n).reshaped(gate_up.rows, n);
      up = flat.columns(gate_up.rows * n, gate_up.rows * n).reshaped(gate_up.rows, n);
    }
  }
};

AttentionShape attention_shape(const ModelSpec& spec, int64_t layer) {
  return {spec.heads, spec.kv_heads, spec.head_dim,
          1 / std::sqrt(static_cast<float>(spec.head_dim)),
          spec.windows[static_cast<size_t>(layer)]};
}

// The linears of one layer with their adapters, by index into ModelSpec::linears.
class Linears {
 public:
  Linears(const BlockContext& context, const BlockWeights& weights, int64_t layer)
      : context_(context),
        weights_(weights),
        first_(static_cast<size_t>(layer) * context.spec.linears.size()) {}

  void forward(int index, Tensor y, Tensor residual, Tensor x, BlockActivations& a) const {
    const auto i = static_cast<size_t>(index);
    context_.ops.lora_linear_forward(y, a.t[i], residual, x, weights_.linears[i], adapter(i));
  }
  void backward(int index, Tensor dx, bool accumulate, Tensor dy, Tensor x,
                const BlockActivations& a) const {
    const auto i = static_cast<size_t>(index);
    const LoraGradient gradient =
        context_.lora ? context_.lora->gradient(first_ + i) : LoraGradient{};
    context_.ops.lora_linear_backward(dx, accumulate, gradient, dy, x, a.t[i], weights_.linears[i],
                                      adapter(i));
  }

 private:
  LoraAdapter adapter(size_t i) const {
    if (!context_.lora) return {};
    return context_.lora->adapter(first_ + i, context_.training, context_.dropout_step);
  }
  const BlockContext& context_;
  const BlockWeights& weights_;
  size_t first_;
};

}  // namespace

BlockActivations::BlockActivations(const ModelSpec& spec, const LoraParameters* lora, int64_t layer,
                                   int64_t tokens, DType compute, MemoryUse use, Arena& arena) {
  const auto make = [&](int64_t cols, DType dtype, const char* name) {
    return arena.tensor(tokens, cols, dtype, use, name);
  };
  h1 = make(spec.hidden_size, compute, "h1");
  rstd1 = make(1, DType::f32, "rstd1");
  qkv = make(spec.q_size() + 2 * spec.kv_size(), compute, "qkv");
  const QkvViews views(qkv, spec);
  q = views.q, k = views.k, v = views.v;
  if (spec.qk_norm) {
    q_raw = make(spec.q_size(), compute, "q before norm");
    k_raw = make(spec.kv_size(), compute, "k before norm");
    q_rstd = make(spec.heads, DType::f32, "q rstd");
    k_rstd = make(spec.kv_heads, DType::f32, "k rstd");
  }
  attention = make(spec.q_size(), compute, "attention");
  lse = make(spec.heads, DType::f32, "attention lse");
  x_mid = make(spec.hidden_size, compute, "x_mid");
  h2 = make(spec.hidden_size, compute, "h2");
  rstd2 = make(1, DType::f32, "rstd2");
  gate_up = make(2 * spec.intermediate_size, compute, "gate_up");
  const GateUpViews mlp(gate_up, spec);
  gate = mlp.gate, up = mlp.up;
  act = make(spec.intermediate_size, compute, "act");
  for (size_t i = 0; i < spec.linears.size(); ++i) {
    const int64_t rank =
        lora ? lora->rank(static_cast<size_t>(layer) * spec.linears.size() + i) : 0;
    t.push_back(rank > 0 ? make(rank, compute, "t") : Tensor{});
  }
}

void block_forward(const BlockContext& context, const BlockWeights& weights, int64_t layer,
                   Tensor y, Tensor x, BlockActivations& a, KeyValueCache* cache) {
  const ModelSpec& spec = context.spec;
  Ops& ops = context.ops;
  const Linears linears(context, weights, layer);

  ops.rms_norm_forward(a.h1, a.rstd1, x, weights.input_norm, spec.rms_norm_eps);
  if (spec.fused_qkv) {
    linears.forward(0, a.qkv, {}, a.h1, a);
  } else {
    linears.forward(0, spec.qk_norm ? a.q_raw : a.q, {}, a.h1, a);
    linears.forward(1, spec.qk_norm ? a.k_raw : a.k, {}, a.h1, a);
    linears.forward(2, a.v, {}, a.h1, a);
  }
  if (spec.qk_norm) {
    ops.rms_norm_forward(a.q, a.q_rstd, a.q_raw, weights.q_norm, spec.rms_norm_eps);
    ops.rms_norm_forward(a.k, a.k_rstd, a.k_raw, weights.k_norm, spec.rms_norm_eps);
  }
  ops.rope_forward(a.q, context.batch.cos, context.batch.sin, spec.head_dim);
  ops.rope_forward(a.k, context.batch.cos, context.batch.sin, spec.head_dim);
  Tensor k = a.k, v = a.v;
  if (cache) {
    ops.copy(cache->k.row_range(cache->length, a.k.rows), a.k);
    ops.copy(cache->v.row_range(cache->length, a.v.rows), a.v);
    k = cache->k.row_range(0, cache->length + a.k.rows);
    v = cache->v.row_range(0, cache->length + a.v.rows);
  }
  ops.attention_forward(a.attention, a.lse, a.q, k, v, context.batch.documents(),
                        attention_shape(spec, layer));
  linears.forward(spec.o_index(), a.x_mid, x, a.attention, a);

  ops.rms_norm_forward(a.h2, a.rstd2, a.x_mid, weights.post_attention_norm, spec.rms_norm_eps);
  if (spec.fused_gate_up) {
    linears.forward(spec.gate_index(), a.gate_up, {}, a.h2, a);
  } else {
    linears.forward(spec.gate_index(), a.gate, {}, a.h2, a);
    linears.forward(spec.gate_index() + 1, a.up, {}, a.h2, a);
  }
  ops.gated_silu_forward(a.act, a.gate, a.up);
  const bool needed = y || a.t[static_cast<size_t>(spec.down_index())];
  if (needed) linears.forward(spec.down_index(), y, y ? a.x_mid : Tensor{}, a.act, a);
}

void block_backward(const BlockContext& context, const BlockWeights& weights, int64_t layer,
                    Tensor dx, bool input_gradient, Tensor x, BlockActivations& a) {
  const ModelSpec& spec = context.spec;
  Ops& ops = context.ops;
  Arena& arena = ops.arena();
  const Linears linears(context, weights, layer);
  const auto make = [&](int64_t cols, const char* name) {
    return arena.tensor(dx.rows, cols, dx.dtype, MemoryUse::working_set, name);
  };

  {  // MLP; the residual's gradient stays in dx
    const Arena::Scope scope(arena);
    const Tensor dh = make(spec.hidden_size, "dh2");
    const Tensor dact = make(spec.intermediate_size, "dact");
    linears.backward(spec.down_index(), dact, false, dx, a.act, a);
    ops.gated_silu_backward(a.gate, a.up, dact, a.gate, a.up);
    if (spec.fused_gate_up) {
      linears.backward(spec.gate_index(), dh, false, a.gate_up, a.h2, a);
    } else {
      linears.backward(spec.gate_index(), dh, false, a.gate, a.h2, a);
      linears.backward(spec.gate_index() + 1, dh, true, a.up, a.h2, a);
    }
    ops.rms_norm_backward(dx, true, dh, a.x_mid, weights.post_attention_norm, a.rstd2);
  }
  {  // attention
    const Arena::Scope scope(arena);
    const Tensor dh = input_gradient ? make(spec.hidden_size, "dh1") : Tensor{};
    const Tensor dattention = make(spec.q_size(), "dattention");
    const Tensor dqkv = make(a.qkv.cols, "dqkv");
    const QkvViews d(dqkv, spec);
    linears.backward(spec.o_index(), dattention, false, dx, a.attention, a);
    ops.attention_backward(d.q, d.k, d.v, dattention, a.attention, a.lse, a.q, a.k, a.v,
                           context.batch.documents(), attention_shape(spec, layer));
    ops.rope_backward(d.q, context.batch.cos, context.batch.sin, spec.head_dim);
    ops.rope_backward(d.k, context.batch.cos, context.batch.sin, spec.head_dim);
    if (spec.qk_norm) {
      ops.rms_norm_backward(d.q, false, d.q, a.q_raw, weights.q_norm, a.q_rstd);
      ops.rms_norm_backward(d.k, false, d.k, a.k_raw, weights.k_norm, a.k_rstd);
    }
    if (spec.fused_qkv) {
      linears.backward(0, dh, false, dqkv, a.h1, a);
    } else {
      linears.backward(0, dh, false, d.q, a.h1, a);
      linears.backward(1, dh, true, d.k, a.h1, a);
      linears.backward(2, dh, true, d.v, a.h1, a);
    }
    if (input_gradient) ops.rms_norm_backward(dx, true, dh, x, weights.input_norm, a.rstd1);
  }
}

}  // namespace nibble
