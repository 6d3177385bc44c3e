#include "ops/plan/plan_ops.h"

#include <algorithm>
#include <array>

#include "ops/cpu/scratch.h"
#include "ops/cuda/scratch.h"
#include "ops/head_tiles.h"

namespace nibble {
namespace {

// Rates of attention on GPUs, relative to forward's of the profile, which is cuDNN's: as measured
// on an H200.
constexpr double own_forward_rate = 0.45, own_backward_rate = 0.57;
constexpr double cudnn_backward_rate = 0.68;
constexpr double cudnn_blocks_rate = 0.68;  // not measured yet: taken to be the former

double bytes_of(std::initializer_list<Tensor> tensors) {
  double bytes = 0;
  for (const Tensor& tensor : tensors) bytes += static_cast<double>(tensor.bytes());
  return bytes;
}

double bytes_of(const QuantizedMatrix& q) {
  return bytes_of({q.codes, q.absmax, q.scale_codes, q.nested_absmax});
}

// Query-key pairs that causal attention looks at: FLOPs are 4 * head_dim for each, and head.
double visible_pairs(const Documents& documents, int64_t window) {
  double pairs = 0;
  for (size_t d = 1; d < documents.query_offsets.size(); ++d) {
    const double queries = documents.query_offsets[d] - documents.query_offsets[d - 1];
    const double keys = documents.key_offsets[d] - documents.key_offsets[d - 1];
    const double full = queries * (keys - queries) + queries * (queries + 1) / 2;
    const double limited = window > 0 ? queries * static_cast<double>(window) : full;
    pairs += std::min(full, limited);
  }
  return pairs;
}

}  // namespace

int64_t PlanOps::row_tile() const { return profile_.cuda ? cuda::row_tile : cpu::row_tile; }

void PlanOps::reset_costs() {
  costs_ = {};
  for (Queue* queue : {&inward_, &outward_}) queue->ends.assign(queue->ends.size(), 0);
  prepared_ = 0;
}

void PlanOps::product(double m, double n, double k) {
  const double flops = 2 * m * n * k;
  costs_.product_flops += flops;
  costs_.computing += flops / profile_.product_flops;
  costs_.seconds += flops / profile_.product_flops;
}

void PlanOps::attention(double flops, double rate) {
  costs_.attention_flops += flops;
  costs_.computing += flops / (rate * profile_.attention_flops);
  costs_.seconds += flops / (rate * profile_.attention_flops);
  launch(2);
}

void PlanOps::move(double bytes) {
  costs_.bytes += bytes;
  costs_.seconds += bytes / profile_.memory_bytes;
  launch(1);
}

void PlanOps::launch(int kernels) { costs_.seconds += kernels * profile_.launch_seconds; }

void PlanOps::link(double bytes_in, double bytes_out) {
  costs_.link_in += bytes_in;
  costs_.link_out += bytes_out;
  costs_.seconds += std::max(bytes_in, bytes_out) / profile_.link_bytes;
}

void PlanOps::wait_until(double time) {
  if (time <= costs_.seconds) return;
  costs_.stalled += time - costs_.seconds;
  costs_.seconds = time;
}

Ops::Ticket PlanOps::copy(Queue& queue, double bytes, bool outward) {
  (outward ? costs_.link_out : costs_.link_in) += bytes;
  const double begin = std::max(queue.end(), costs_.seconds);
  queue.ends.push_back(begin + bytes / profile_.link_bytes);
  return {static_cast<int64_t>(queue.ends.size()), outward};
}

Ops::Ticket PlanOps::do_fetch(Tensor y, Tensor) { return copy(inward_, bytes_of({y}), false); }
Ops::Ticket PlanOps::do_store(Tensor, Tensor x) { return copy(outward_, bytes_of({x}), true); }
void PlanOps::do_wait(Ticket ticket) {
  const Queue& queue = ticket.outward ? outward_ : inward_;
  wait_until(queue.ends[static_cast<size_t>(ticket.number - 1)]);
}

void PlanOps::dequantized(const FrozenLinear& w) {
  if (w.quantized) move(bytes_of(w.quantized) + 2.0 * static_cast<double>(w.quantized.size()));
}

void PlanOps::do_zero(Tensor y) { move(bytes_of({y})); }
void PlanOps::do_copy(Tensor y, Tensor x) { move(bytes_of({y, x})); }
void PlanOps::do_scatter_rows(Tensor, Tensor x, Tensor rows) { move(bytes_of({x, x, rows})); }
void PlanOps::do_convert(Tensor y, Tensor x) { move(bytes_of({y, x})); }
void PlanOps::do_upload(Tensor y, std::span<const std::byte>) { move(bytes_of({y})); }
void PlanOps::do_download(std::span<std::byte> y, Tensor) {
  std::ranges::fill(y, std::byte{0});
  move(static_cast<double>(y.size()));
}

void PlanOps::do_quantize_blocks(Tensor codes, Tensor absmax, Tensor x, const QuantSpec&, Tensor) {
  move(bytes_of({codes, absmax, x}));
}
void PlanOps::do_double_quantize(const QuantizedMatrix& q, Tensor absmax) {
  const Arena::Scope scope(arena());
  if (profile_.cuda) (void)cuda::double_partials(arena(), q.nested_absmax.size());
  move(bytes_of({q.scale_codes, absmax}));
}
void PlanOps::do_dequantize(Tensor w, const QuantizedMatrix& q) {
  move(bytes_of({w}) + bytes_of(q));
}

void PlanOps::do_embedding(Tensor y, Tensor table, Tensor) {
  move(2 * bytes_of({y}));
  if (is_far(table)) link(bytes_of({y}), 0);
}

void PlanOps::do_rope_tables(Tensor cos, Tensor sin, Tensor, Tensor, Tensor, float) {
  move(bytes_of({cos, sin}));
}
void PlanOps::do_rope(Tensor x, Tensor cos, Tensor sin, int64_t, bool) {
  move(2 * bytes_of({x}) + bytes_of({cos, sin}));
}

void PlanOps::do_rms_norm_forward(Tensor y, Tensor rstd, Tensor x, Tensor, float) {
  move(bytes_of({y, rstd, x}));
}
void PlanOps::do_rms_norm_backward(Tensor dx, bool accumulate, Tensor dy, Tensor x, Tensor,
                                   Tensor rstd) {
  move(bytes_of({dx, dy, x, rstd}) + (accumulate ? bytes_of({dx}) : 0));
}

// FLOPs are counted as done: two products forward; five backward, seven where dq and dk, dv are two
// passes.
void PlanOps::do_attention_forward(Tensor out, Tensor, Tensor q, Tensor k, Tensor v,
                                   const Documents& documents, const AttentionShape& shape) {
  const Arena::Scope scope(arena());
  const double pairs =
      static_cast<double>(shape.heads * shape.head_dim) * visible_pairs(documents, shape.window);
  double rate = 1;
  if (profile_.cuda) {
    const auto s = cuda::AttentionScratch::take_forward(arena(), out, q, k, v, documents, shape);
    if (!s.cudnn) rate = own_forward_rate;
  } else {
    (void)cpu::AttentionScratch::take_forward(arena(), profile_.threads, shape);
  }
  attention(4.0 * pairs, rate);
}

void PlanOps::do_attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor dout, Tensor out,
                                    Tensor, Tensor q, Tensor k, Tensor v,
                                    const Documents& documents, const AttentionShape& shape) {
  const Arena::Scope scope(arena());
  const double pairs =
      static_cast<double>(shape.heads * shape.head_dim) * visible_pairs(documents, shape.window);
  if (profile_.cuda) {
    const auto s = cuda::AttentionScratch::take_backward(
        arena(), std::array{q, k, v, out, dout, dq, dk, dv}, documents, shape);
    if (s.cudnn)
      attention(10.0 * pairs, s.in_blocks ? cudnn_blocks_rate : cudnn_backward_rate);
    else
      attention(14.0 * pairs, own_backward_rate);
  } else {
    (void)cpu::AttentionScratch::take_backward(arena(), profile_.threads, dq.rows, shape);
    attention(14.0 * pairs, 1);
  }
}

void PlanOps::do_gated_silu_forward(Tensor y, Tensor gate, Tensor up) {
  move(bytes_of({y, gate, up}));
}
void PlanOps::do_gated_silu_backward(Tensor dgate, Tensor dup, Tensor dy, Tensor gate, Tensor up) {
  move(bytes_of({dgate, dup, dy, gate, up}));
}

double PlanOps::dequantizing_seconds(const LinearGroup& group) const {
  double bytes = 0;
  for (const LoraLinear& linear : group.linears) {
    const FrozenLinear& w = linear.weight;
    const auto size = static_cast<double>(w.out_features * w.in_features);
    if (w.quantized) bytes += bytes_of(w.quantized) + 2.0 * size;
    if (w.dense) bytes += 4.0 * size;
  }
  return bytes / profile_.memory_bytes;
}

// Beside the computation on a GPU.
Tensor PlanOps::do_prepare(const LinearGroup& group, int64_t rows, DType compute) {
  if (!profile_.cuda) {
    const Tensor prepared = cpu::prepared_weights(arena(), compute, group);
    costs_.seconds += prepared ? dequantizing_seconds(group) : 0;
    return prepared;
  }
  const Tensor prepared = cuda::stacked_weights(arena(), rows, compute, group);
  if (prepared) prepared_ = std::max(prepared_, costs_.seconds) + dequantizing_seconds(group);
  return prepared;
}

void PlanOps::linear_scratch(bool backward, bool has_output, Tensor x, const LinearGroup& group) {
  const Arena::Scope scope(arena());
  if (profile_.cuda) {
    if (backward)
      (void)cuda::LoraLinearBackwardScratch::take(arena(), x.rows, x.dtype, group);
    else
      (void)cuda::LoraLinearForwardScratch::take(arena(), x.rows, x.dtype, has_output, group);
    return;
  }
  for (const auto& [w, lora, gradient] : group.linears) {
    const Arena::Scope layer(arena());
    const bool dequantizes = has_output && !group.prepared;
    if (backward)
      (void)cpu::LoraLinearBackwardScratch::take(arena(), profile_.threads, x.rows, x.dtype,
                                                 has_output, dequantizes, w, lora);
    else
      (void)cpu::LoraLinearForwardScratch::take(arena(), profile_.threads, x.rows, x.dtype,
                                                has_output, dequantizes, w, lora);
  }
}

void PlanOps::do_lora_linear_forward(Tensor y, Tensor residual, Tensor x,
                                     const LinearGroup& group) {
  linear_scratch(false, static_cast<bool>(y), x, group);
  if (group.prepared) costs_.seconds = std::max(costs_.seconds, prepared_);
  const auto tokens = static_cast<double>(x.rows);
  for (const auto& [w, lora, gradient] : group.linears) {
    const auto in = static_cast<double>(w.in_features), out = static_cast<double>(w.out_features);
    const double element = static_cast<double>(size_of(x.dtype));
    const auto rank = static_cast<double>(lora ? lora.rank() : 0);
    if (profile_.cuda) {  // the adapter is part of the product
      launch(lora ? 4 : 1);
      if (lora) move(tokens * in * element);
      if (lora && lora.dropout > 0) move(3 * tokens * in * element);
      if (!y) continue;
      if (cuda::few_tokens(x.rows, group)) {  // reads the codes once
        move(bytes_of(w.quantized));
        continue;
      }
      if (!group.prepared) dequantized(w);
      if (w.dense && lora && !group.prepared) move(2 * in * out * element);  // beside the adapter
      product(tokens, out, in + rank);
      if (residual) move(tokens * out * element);
      continue;
    }
    if (y) {
      if (!group.prepared) dequantized(w);
      product(tokens, out, in);
      if (residual) move(2 * tokens * out * element);
    }
    if (!lora) continue;
    product(tokens, rank, in);
    move(tokens * in * element);
    if (y) {
      product(tokens, out, rank);
      move(2 * tokens * out * element);
    }
  }
}

void PlanOps::do_lora_linear_backward(Tensor dx, Tensor dy, Tensor, const LinearGroup& group) {
  linear_scratch(true, static_cast<bool>(dx), dy, group);
  if (group.prepared) costs_.seconds = std::max(costs_.seconds, prepared_);
  const auto tokens = static_cast<double>(dy.rows);
  for (const auto& [w, lora, gradient] : group.linears) {
    const auto in = static_cast<double>(w.in_features), out = static_cast<double>(w.out_features);
    const double element = static_cast<double>(size_of(dy.dtype));
    const auto rank = static_cast<double>(lora ? lora.rank() : 0);
    if (profile_.cuda) {
      launch(lora ? 8 : 1);
      if (lora) move(tokens * (2 * out + in) * element);
      if (lora && lora.dropout > 0) move(6 * tokens * in * element);
      if (!dx) continue;
      if (!group.prepared) dequantized(w);
      if (w.dense && lora && !group.prepared) move(2 * in * out * element);
      product(tokens, in, out + rank);
      continue;
    }
    if (dx) {
      if (!group.prepared) dequantized(w);
      product(tokens, in, out);
    }
    if (!lora) continue;
    product(tokens, rank, out);
    product(out, rank, tokens);
    product(in, rank, tokens);
    move(tokens * (2 * out + in) * element);
    if (dx) {
      product(tokens, in, rank);
      move(2 * tokens * in * element);
    }
  }
}

// Of a far head in tiles, each product waits for its tile, and the next tile comes meanwhile.
void PlanOps::do_linear_cross_entropy(Tensor, Tensor dx, Tensor x, Tensor head, Tensor,
                                      int64_t trained, Tensor, LogitsIn held) {
  const Arena::Scope scope(arena());
  const bool has_dx = static_cast<bool>(dx), far = is_far(head);
  int64_t at_once = 0;
  if (profile_.cuda)
    at_once = cuda::CrossEntropyScratch::take(arena(), trained, x.cols, head.rows, x.dtype, held,
                                              has_dx, far)
                  .x.rows;
  else
    at_once = cpu::CrossEntropyScratch::take(arena(), profile_.threads, trained, x.cols, head.rows,
                                             x.dtype, held, has_dx, far)
                  .x.rows;
  const auto vocabulary = static_cast<double>(head.rows), features = static_cast<double>(x.cols);
  for_chunks(trained, at_once, [&](int64_t, int64_t count) {
    const auto rows = static_cast<double>(count);
    const auto pass = [&](int products) {
      const double link_end = costs_.seconds + (far ? bytes_of({head}) / profile_.link_bytes : 0);
      for (int i = 0; i < products; ++i) product(rows, vocabulary, features);
      if (!far) return;
      costs_.link_in += bytes_of({head});
      wait_until(link_end);
    };
    pass(1);
    if (has_dx) pass(held == LogitsIn::tiles ? 2 : 1);
    move(rows * vocabulary * 8);
  });
}

void PlanOps::do_logits(Tensor logits, Tensor x, Tensor head) {
  const Arena::Scope scope(arena());
  const bool far = is_far(head);
  if (profile_.cuda) {
    if (far) (void)cuda::head_tiles(arena(), head.rows, head.cols, head.dtype);
    (void)cuda::matmul_workspace(arena());
  } else {
    if (far) (void)cpu::head_tile(arena(), head.rows, head.cols, head.dtype);
    (void)cpu::matmul_workspace(arena(), profile_.threads);
  }
  if (far) link(bytes_of({head}), 0);
  product(static_cast<double>(x.rows), static_cast<double>(head.rows), static_cast<double>(x.cols));
  move(bytes_of({logits}));
}

void PlanOps::do_sum_of_squares(Tensor, Tensor x) {
  const Arena::Scope scope(arena());
  if (profile_.cuda)
    (void)cuda::double_partials(arena(), cuda::sum_of_squares_partials(x.cols));
  else
    (void)cpu::partial_sums(arena(), x.cols);
  move(bytes_of({x}));
}
void PlanOps::do_adamw(Tensor p, Tensor g, Tensor m, Tensor v, const AdamWOptions&) {
  move(2 * bytes_of({p, m, v}) + bytes_of({g}));
  if (is_far(m)) link(bytes_of({m, v}), bytes_of({m, v}));
}
void PlanOps::do_adamw_8bit(Tensor p, Tensor g, const Adam8bitState& state, const AdamWOptions&) {
  const Arena::Scope scope(arena());
  if (profile_.cuda) (void)cuda::moment_maps(arena());
  move(2 * bytes_of({p, state.m_codes, state.v_codes}) + bytes_of({g}));
  const double moments = bytes_of({state.m_codes, state.v_codes});
  if (is_far(state.m_codes)) link(moments, moments);
}

}  // namespace nibble
