#include "transformer/block.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace nibble {
namespace {

// Groups of linear layers, by index into ModelSpec::linears.
struct Group {
  int first, count;
};
Group qkv_group(const ModelSpec& spec) { return {0, spec.qkv_count()}; }
Group o_group(const ModelSpec& spec) { return {spec.o_index(), 1}; }
Group gate_up_group(const ModelSpec& spec) { return {spec.gate_index(), spec.gate_up_count()}; }
Group down_group(const ModelSpec& spec) { return {spec.down_index(), 1}; }

int64_t tail_of(const ModelSpec& spec, const LoraParameters* lora, int64_t layer, Group group) {
  if (!lora) return 0;
  int64_t rank = 0;
  for (int i = group.first; i < group.first + group.count; ++i)
    rank += lora->rank(static_cast<size_t>(layer) * spec.linears.size() + static_cast<size_t>(i));
  return LinearGroup::lora_tail(rank);
}

AttentionShape attention_shape(const ModelSpec& spec, int64_t layer) {
  return {spec.heads, spec.kv_heads, spec.head_dim,
          1 / std::sqrt(static_cast<float>(spec.head_dim)),
          spec.windows[static_cast<size_t>(layer)]};
}

// The linears of one layer with their adapters.
class Linears {
 public:
  Linears(const BlockContext& context, const BlockWeights& weights, int64_t layer)
      : context_(context),
        weights_(weights),
        layer_(layer),
        first_(static_cast<size_t>(layer) * context.spec.linears.size()) {}

  void forward(Group group, Tensor y, Tensor residual, Tensor x) const {
    const Members members = load(group);
    context_.ops.lora_linear_forward(y, residual, x, {{members.data(), size(group)}});
  }
  void backward(Group group, Tensor dx, Tensor dy, Tensor x) const {
    const Members members = load(group);
    context_.ops.lora_linear_backward(dx, dy, x, {{members.data(), size(group)}});
  }
  int64_t tail(Group group) const { return tail_of(context_.spec, context_.lora, layer_, group); }

 private:
  using Members = std::array<LoraLinear, 3>;
  static size_t size(Group group) { return static_cast<size_t>(group.count); }

  Members load(Group group) const {
    Members members;
    for (size_t j = 0; j < size(group); ++j) {
      const size_t i = static_cast<size_t>(group.first) + j;
      members[j].weight = weights_.linears[i];
      if (!context_.lora) continue;
      members[j].lora =
          context_.lora->adapter(first_ + i, context_.training, context_.dropout_step);
      if (context_.training) members[j].gradient = context_.lora->gradient(first_ + i);
    }
    return members;
  }
  const BlockContext& context_;
  const BlockWeights& weights_;
  int64_t layer_;
  size_t first_;
};

}  // namespace

int64_t gradient_tail(const ModelSpec& spec, const LoraParameters* lora) {
  int64_t tail = 0;
  for (int64_t layer = 0; layer < spec.layers; ++layer)
    for (const Group group : {o_group(spec), down_group(spec)})
      tail = std::max(tail, tail_of(spec, lora, layer, group));
  return tail;
}

BlockActivations::BlockActivations(const ModelSpec& spec, const LoraParameters* lora, int64_t layer,
                                   int64_t tokens, DType compute, MemoryUse use, Arena& arena) {
  const auto make = [&](int64_t cols, DType dtype, const char* name) {
    return arena.tensor(tokens, cols, dtype, use, name);
  };
  const auto tail = [&](Group group) { return tail_of(spec, lora, layer, group); };
  const int64_t nq = spec.q_size(), nkv = spec.kv_size(), mlp = spec.intermediate_size;
  h1 = make(spec.hidden_size + tail(qkv_group(spec)), compute, "h1");
  rstd1 = make(1, DType::f32, "rstd1");
  qkv = make(nq + 2 * nkv, compute, "qkv");
  q = qkv.columns(0, nq), k = qkv.columns(nq, nkv), v = qkv.columns(nq + nkv, nkv);
  if (spec.qk_norm) {
    q = make(nq, compute, "q after norm");
    k = make(nkv, compute, "k after norm");
    q_rstd = make(spec.heads, DType::f32, "q rstd");
    k_rstd = make(spec.kv_heads, DType::f32, "k rstd");
  }
  attention = make(nq + tail(o_group(spec)), compute, "attention");
  lse = make(spec.heads, DType::f32, "attention lse");
  x_mid = make(spec.hidden_size, compute, "x_mid");
  h2 = make(spec.hidden_size + tail(gate_up_group(spec)), compute, "h2");
  rstd2 = make(1, DType::f32, "rstd2");
  gate_up = make(2 * mlp + tail(gate_up_group(spec)), compute, "gate_up");
  gate = gate_up.columns(0, mlp), up = gate_up.columns(mlp, mlp);
  act = make(mlp + tail(down_group(spec)), compute, "act");
}

void block_forward(const BlockContext& context, const BlockWeights& weights, int64_t layer,
                   Tensor y, Tensor x, BlockActivations& a, KeyValueCache* cache) {
  const ModelSpec& spec = context.spec;
  Ops& ops = context.ops;
  const Linears linears(context, weights, layer);

  const int64_t hidden = spec.hidden_size, nq = spec.q_size(), nkv = spec.kv_size();
  ops.rms_norm_forward(a.h1.columns(0, hidden), a.rstd1, x, weights.input_norm, spec.rms_norm_eps);
  linears.forward(qkv_group(spec), a.qkv, {}, a.h1);
  if (spec.qk_norm) {
    ops.rms_norm_forward(a.q, a.q_rstd, a.qkv.columns(0, nq), weights.q_norm, spec.rms_norm_eps);
    ops.rms_norm_forward(a.k, a.k_rstd, a.qkv.columns(nq, nkv), weights.k_norm, spec.rms_norm_eps);
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
  ops.attention_forward(a.attention.columns(0, nq), a.lse, a.q, k, v, context.batch.documents(),
                        attention_shape(spec, layer));
  linears.forward(o_group(spec), a.x_mid, x, a.attention);

  ops.rms_norm_forward(a.h2.columns(0, hidden), a.rstd2, a.x_mid, weights.post_attention_norm,
                       spec.rms_norm_eps);
  linears.forward(gate_up_group(spec), a.gate_up.columns(0, 2 * spec.intermediate_size), {}, a.h2);
  ops.gated_silu_forward(a.act.columns(0, spec.intermediate_size), a.gate, a.up);
  if (y || linears.tail(down_group(spec)) > 0)
    linears.forward(down_group(spec), y, y ? a.x_mid : Tensor{}, a.act);
}

void block_backward(const BlockContext& context, const BlockWeights& weights, int64_t layer,
                    Tensor dx, bool input_gradient, Tensor x, BlockActivations& a) {
  const ModelSpec& spec = context.spec;
  Ops& ops = context.ops;
  Arena& arena = ops.arena();
  const Linears linears(context, weights, layer);
  const int64_t hidden = spec.hidden_size, nq = spec.q_size(), nkv = spec.kv_size();
  const auto make = [&](int64_t cols, const char* name) {
    return arena.tensor(dx.rows, cols, dx.dtype, MemoryUse::working_set, name);
  };
  const auto with_tail = [&](Group group) { return dx.columns(0, hidden + linears.tail(group)); };
  const Tensor dx_hidden = dx.columns(0, hidden);

  {  // MLP; the residual's gradient stays in dx
    const Arena::Scope scope(arena);
    const Tensor dh = make(hidden, "dh2");
    const Tensor dact = make(spec.intermediate_size, "dact");
    linears.backward(down_group(spec), dact, with_tail(down_group(spec)), a.act);
    ops.gated_silu_backward(a.gate, a.up, dact, a.gate, a.up);
    linears.backward(gate_up_group(spec), dh, a.gate_up, a.h2);
    ops.rms_norm_backward(dx_hidden, true, dh, a.x_mid, weights.post_attention_norm, a.rstd2);
  }
  {  // attention
    const Arena::Scope scope(arena);
    const Tensor dh = input_gradient ? make(hidden, "dh1") : Tensor{};
    const Tensor dattention = make(nq, "dattention");
    const Tensor dqkv = make(nq + 2 * nkv + linears.tail(qkv_group(spec)), "dqkv");
    const Tensor dq = dqkv.columns(0, nq), dk = dqkv.columns(nq, nkv);
    linears.backward(o_group(spec), dattention, with_tail(o_group(spec)), a.attention);
    ops.attention_backward(dq, dk, dqkv.columns(nq + nkv, nkv), dattention,
                           a.attention.columns(0, nq), a.lse, a.q, a.k, a.v,
                           context.batch.documents(), attention_shape(spec, layer));
    ops.rope_backward(dq, context.batch.cos, context.batch.sin, spec.head_dim);
    ops.rope_backward(dk, context.batch.cos, context.batch.sin, spec.head_dim);
    if (spec.qk_norm) {
      ops.rms_norm_backward(dq, false, dq, a.qkv.columns(0, nq), weights.q_norm, a.q_rstd);
      ops.rms_norm_backward(dk, false, dk, a.qkv.columns(nq, nkv), weights.k_norm, a.k_rstd);
    }
    linears.backward(qkv_group(spec), dh, dqkv, a.h1);
    if (input_gradient) ops.rms_norm_backward(dx_hidden, true, dh, x, weights.input_norm, a.rstd1);
  }
}

}  // namespace nibble
