// The linear layer of QLoRA: a frozen, usually quantized weight, and a low-rank adapter.
//
// Dropout keeps element i of the flattened [T, in] input when
//   uniform_float(philox(dropout_key, i / 4, dropout_step)[i % 4]) >= p,
// and multiplies what it keeps by 1 / (1 - p); backward draws the same mask again.
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/scratch.h"

namespace nibble {

using cpu::plain;
using cpu::transposed;

void CpuOps::dropout(Tensor y, bool accumulate, Tensor x, int64_t first_row,
                     const LoraAdapter& lora) const {
  const auto half = [&](int i) {
    return static_cast<uint32_t>(lora.dropout_step.as<int32_t>()[i]);
  };
  const uint64_t step = half(0) | uint64_t{half(1)} << 32;
  const cpu::DropoutStream stream = {lora.dropout_key, step, lora.dropout,
                                     1.0f / (1.0f - lora.dropout)};
  const auto kernel = elements(x.dtype).dropout;
  const auto size = static_cast<int64_t>(size_of(x.dtype));
  const int64_t first = first_row * x.cols;
  cpu::parallel_ranges(threads_, x.size(), 4096, [&](int64_t begin, int64_t end) {
    kernel(y.raw() + begin * size, accumulate, x.raw() + begin * size, first + begin, end - begin,
           stream);
  });
}

namespace {

// y = round(scale * x), both dense.
void scale_into(Tensor y, Tensor x, float scale, const cpu::ElementKernels& kernels, int threads) {
  const auto size = static_cast<int64_t>(size_of(y.dtype));
  const float* from = x.as<float>();
  cpu::parallel_ranges(threads, x.size(), 4096, [&](int64_t begin, int64_t end) {
    kernels.scale_from_f32(y.raw() + begin * size, from + begin, end - begin, scale);
  });
}

// The layer's rows of the prepared weights, which hold its outputs from `out` on.
Tensor prepared_of(const LinearGroup& group, int64_t out, const LoraLinear& linear) {
  if (!group.prepared || !linear.weight.quantized) return {};
  return group.prepared.row_range(out, linear.weight.out_features);
}

}  // namespace

Tensor CpuOps::weight_of(const Layer& layer, Tensor scratch) {
  const FrozenLinear& w = layer.linear.weight;
  if (layer.prepared) return layer.prepared;
  if (w.dense) return w.dense;
  do_dequantize(scratch, w.quantized);
  return scratch;
}

Tensor CpuOps::do_prepare(const LinearGroup& group, int64_t, DType compute) {
  const Tensor prepared = cpu::prepared_weights(arena(), compute, group);
  int64_t out = 0;
  for (const LoraLinear& linear : group.linears) {
    const FrozenLinear& w = linear.weight;
    if (prepared && w.quantized)
      do_dequantize(prepared.row_range(out, w.out_features), w.quantized);
    out += w.out_features;
  }
  return prepared;
}

void CpuOps::do_lora_linear_forward(Tensor y, Tensor residual, Tensor x, const LinearGroup& group) {
  const int64_t in = group.in_features();
  int64_t out = 0, tail = in;
  for (const LoraLinear& linear : group.linears) {
    const int64_t width = linear.weight.out_features, rank = linear.lora ? linear.lora.rank() : 0;
    forward(y ? y.columns(out, width) : y, residual ? residual.columns(out, width) : residual,
            x.columns(0, in), x.columns(tail, rank),
            {linear, prepared_of(group, out, linear), group.first_row});
    out += width;
    tail += rank;
  }
}

void CpuOps::forward(Tensor y, Tensor residual, Tensor x, Tensor t, const Layer& layer) {
  const auto& [w, lora, gradient] = layer.linear;
  const Arena::Scope scope(arena());
  const auto scratch = cpu::LoraLinearForwardScratch::take(
      arena(), threads_, x.rows, x.dtype, static_cast<bool>(y), y && !layer.prepared, w, lora);
  if (y) {
    if (residual && residual.data != y.data) do_copy(y, residual);
    matmul_.run(y, static_cast<bool>(residual), plain(x),
                transposed(weight_of(layer, scratch.weight)), w.bias, scratch.workspace);
  }
  if (!lora) return;
  if (scratch.x) {
    do_copy(scratch.x, x);
    dropout(scratch.x, false, scratch.x, layer.first_row, lora);
  }
  if (scratch.a) do_convert(scratch.a, lora.a);
  matmul_.run(t, false, plain(scratch.x ? scratch.x : x),
              transposed(scratch.a ? scratch.a : lora.a), {}, scratch.workspace);
  if (!y) return;
  scale_into(scratch.b, lora.b, lora.scaling, elements(y.dtype), threads_);
  matmul_.run(y, true, plain(t), transposed(scratch.b), {}, scratch.workspace);
}

void CpuOps::do_lora_linear_backward(Tensor dx, Tensor dy, Tensor x, const LinearGroup& group) {
  const int64_t in = group.in_features();
  int64_t out = 0, tail = in;
  for (const LoraLinear& linear : group.linears) {
    const int64_t width = linear.weight.out_features, rank = linear.lora ? linear.lora.rank() : 0;
    backward(dx, out > 0, dy.columns(out, width), x.columns(0, in), x.columns(tail, rank),
             {linear, prepared_of(group, out, linear), group.first_row});
    out += width;
    tail += rank;
  }
}

void CpuOps::backward(Tensor dx, bool accumulate, Tensor dy, Tensor x, Tensor t,
                      const Layer& layer) {
  const auto& [w, lora, gradient] = layer.linear;
  const Arena::Scope scope(arena());
  const auto scratch = cpu::LoraLinearBackwardScratch::take(
      arena(), threads_, dy.rows, dy.dtype, static_cast<bool>(dx), dx && !layer.prepared, w, lora);
  if (dx)
    matmul_.run(dx, accumulate, plain(dy), plain(weight_of(layer, scratch.weight)), {},
                scratch.workspace);
  if (!lora) return;

  scale_into(scratch.b, lora.b, lora.scaling, elements(dy.dtype), threads_);
  matmul_.run(scratch.u, false, plain(dy), plain(scratch.b), {}, scratch.workspace);

  // The gradient of B is computed as [r, out], whose long side oneDNN divides among threads.
  matmul_.run(scratch.gradient_b, false, transposed(t), plain(dy), {}, scratch.workspace);
  const float* transposed_gradient = scratch.gradient_b.as<float>();
  float* gradient_b = gradient.b.as<float>();
  const int64_t rank = lora.rank();
  cpu::parallel_ranges(threads_, w.out_features, 64, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o)
      for (int64_t r = 0; r < rank; ++r)
        gradient_b[o * rank + r] += lora.scaling * transposed_gradient[r * w.out_features + o];
  });

  if (scratch.x) {
    do_copy(scratch.x, x);
    dropout(scratch.x, false, scratch.x, layer.first_row, lora);
  }
  matmul_.run(gradient.a, true, transposed(scratch.u), plain(scratch.x ? scratch.x : x), {},
              scratch.workspace);
  if (!dx) return;

  if (scratch.a) do_convert(scratch.a, lora.a);
  const Tensor a = scratch.a ? scratch.a : lora.a;
  if (scratch.x) {
    matmul_.run(scratch.x, false, plain(scratch.u), plain(a), {}, scratch.workspace);
    dropout(dx, true, scratch.x, layer.first_row, lora);
  } else {
    matmul_.run(dx, true, plain(scratch.u), plain(a), {}, scratch.workspace);
  }
}

}  // namespace nibble
