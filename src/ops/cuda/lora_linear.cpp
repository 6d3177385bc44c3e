// The linear layers of QLoRA, a group with one input at a time. The adapters are extra columns of
// the products' inner dimension: y = [x | t] [W | B]^T and dx = [dy | u] [W; A], with W, A and B of
// all layers stacked, and B times its scaling in the rows and columns of its own layer. Only
// dropout, whose t and dx differ for each layer, takes products of its own. A few tokens read the
// codes themselves (kernels/small_linear.cu).
#include "ops/cuda/check.h"
#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/four_bit.h"
#include "ops/cuda/matrix.h"
#include "ops/cuda/scratch.h"

namespace nibble {

using cuda::check_launch;
using cuda::matrix;
using cuda::plain;
using cuda::StackedWeights;
using cuda::transposed;

namespace {

// Calls visit(layer, first output, first column of its t) for each layer of the group.
template <typename Visit>
void for_each_layer(const LinearGroup& group, Visit visit) {
  int64_t out = 0, rank = 0;
  for (const LoraLinear& layer : group.linears) {
    visit(layer, out, rank);
    out += layer.weight.out_features;
    rank += layer.lora ? layer.lora.rank() : 0;
  }
}

}  // namespace

void CudaOps::dropout(Tensor y, bool accumulate, Tensor x, int64_t first_row,
                      const LoraAdapter& lora) {
  cuda::dropout(matrix(y), accumulate, matrix(x),
                {lora.dropout_key, lora.dropout_step.as<int32_t>(), lora.dropout,
                 1.0f / (1.0f - lora.dropout), first_row * x.cols},
                stream_);
  check_launch("dropout");
}

void CudaOps::stack(const StackedWeights& s, const LinearGroup& group, bool weights,
                    cudaStream_t stream) {
  const Tensor a = s.tail > 0 ? s.a() : Tensor{}, b = s.tail > 0 && s.out > 0 ? s.b() : Tensor{};
  // Elements that belong to no layer are zero; with one layer of full rank there are none.
  if (a && group.rank() < s.tail)
    zero_columns(a.row_range(group.rank(), s.tail - group.rank()), stream);
  if (b && (group.linears.size() > 1 || group.rank() < s.tail)) zero_columns(b, stream);
  for_each_layer(group, [&](const LoraLinear& layer, int64_t out, int64_t rank) {
    const FrozenLinear& w = layer.weight;
    if (weights) {
      const Tensor place = s.w().row_range(out, w.out_features);
      if (w.quantized) {
        cuda::dequantize(matrix(place), cuda::four_bit(w.quantized), stream);
        check_launch("dequantize");
      } else {
        copy_on(place, w.dense, stream);
      }
    }
    if (!layer.lora) return;
    const LoraAdapter& lora = layer.lora;
    cuda::scale_from_f32(matrix(a.row_range(rank, lora.rank())), matrix(lora.a), 1, stream);
    if (b)
      cuda::scale_from_f32(matrix(b.row_range(out, w.out_features).columns(rank, lora.rank())),
                           matrix(lora.b), lora.scaling, stream);
    check_launch("scale_from_f32");
  });
}

// On the side stream: it begins when the memory is free, and need not end before it is used.
Tensor CudaOps::do_prepare(const LinearGroup& group, int64_t rows, DType compute) {
  const StackedWeights stacked = {cuda::stacked_weights(arena(), rows, compute, group),
                                  group.out_features(), group.in_features(), group.tail()};
  if (!stacked.all) return {};
  Preparing& preparing = preparing_[next_preparing_++ % preparing_.size()];
  end(preparing);
  preparing.weights = stacked.all.data;
  cuda::check(cudaEventRecord(preparing.begin, stream_), "cudaEventRecord");
  cuda::check(cudaStreamWaitEvent(side_, preparing.begin, 0), "cudaStreamWaitEvent");
  stack(stacked, group, true, side_);
  cuda::check(cudaEventRecord(preparing.end, side_), "cudaEventRecord");
  return stacked.all;
}

void CudaOps::end(Preparing& preparing) {
  if (!preparing.weights) return;
  cuda::check(cudaStreamWaitEvent(stream_, preparing.end, 0), "cudaStreamWaitEvent");
  preparing.weights = nullptr;
}

void CudaOps::end_preparing() {
  for (Preparing& preparing : preparing_) end(preparing);
}

StackedWeights CudaOps::stacked_weights(const LinearGroup& group, Tensor scratch, bool weights) {
  StackedWeights stacked = {group.prepared, group.out_features(), group.in_features(),
                            group.tail()};
  if (group.prepared) {
    for (Preparing& preparing : preparing_)
      if (preparing.weights == group.prepared.data) end(preparing);
    return stacked;
  }
  const Span timed = span("dequantize");
  stacked.all = scratch;
  if (!scratch) {
    stacked.all = group.linears.front().weight.dense;  // serves itself
    return stacked;
  }
  if (scratch.rows == stacked.tail) stacked.out = 0;  // A alone
  stack(stacked, group, weights, stream_);
  return stacked;
}

void CudaOps::few_tokens_forward(Tensor y, Tensor residual, Tensor x, const LinearGroup& group) {
  using cuda::SmallLinearGroup;
  static_assert(cuda::most_few_tokens == SmallLinearGroup::most_tokens);
  static_assert(cuda::most_few_layers == SmallLinearGroup::most_layers);
  SmallLinearGroup layers{};
  for_each_layer(group, [&](const LoraLinear& layer, int64_t out, int64_t rank) {
    cuda::SmallLinear& view = layers.layers[layers.count++];
    view.weight = cuda::four_bit(layer.weight.quantized);
    view.out = layer.weight.out_features;
    view.first_output = out;
    view.bias = layer.weight.bias.data;
    view.first_rank = rank;
    if (!layer.lora) return;
    view.a = layer.lora.a.as<float>();
    view.b = layer.lora.b.as<float>();
    view.rank = layer.lora.rank();
    view.scaling = layer.lora.scaling;
  });
  const Tensor input = x.columns(0, group.in_features());
  const Tensor t = x.columns(group.in_features(), group.tail());
  if (group.tail() > 0) {
    const Span timed = span("adapter");
    cuda::small_linear_adapters(matrix(t), matrix(input), layers, stream_);
    check_launch("small_linear_adapters");
  }
  if (!y) return;
  const Span timed = span("product");
  cuda::small_linear(matrix(y), matrix(residual), matrix(input), matrix(t), layers, stream_);
  check_launch("small_linear");
}

void CudaOps::do_lora_linear_forward(Tensor y, Tensor residual, Tensor x,
                                     const LinearGroup& group) {
  if (x.rows == 0) return;
  if (cuda::few_tokens(x.rows, group)) return few_tokens_forward(y, residual, x, group);
  const Arena::Scope scope(arena());
  const auto scratch =
      cuda::LoraLinearForwardScratch::take(arena(), x.rows, x.dtype, static_cast<bool>(y), group);
  const StackedWeights stacked = stacked_weights(group, scratch.weights, static_cast<bool>(y));
  const int64_t in = group.in_features(), tail = group.tail();
  const Tensor input = x.columns(0, in), t = x.columns(in, tail);
  if (tail > 0) {
    const Span timed = span("adapter");
    if (!scratch.x) {
      matmul_.run(t, {}, plain(input), transposed(stacked.a()), {}, scratch.workspace);
    } else {
      zero_columns(t, stream_);
      for_each_layer(group, [&](const LoraLinear& layer, int64_t, int64_t rank) {
        if (!layer.lora) return;
        const int64_t r = layer.lora.rank();
        dropout(scratch.x, false, input, group.first_row, layer.lora);
        matmul_.run(t.columns(rank, r), {}, plain(scratch.x),
                    transposed(stacked.a().row_range(rank, r)), {}, scratch.workspace);
      });
    }
  }
  if (!y) return;

  Tensor bias = group.linears.front().weight.bias;
  if (scratch.bias) {
    bias = scratch.bias;
    do_zero(bias);
    for_each_layer(group, [&](const LoraLinear& layer, int64_t out, int64_t) {
      if (layer.weight.bias)
        do_copy(bias.columns(out, layer.weight.out_features), layer.weight.bias);
    });
  }
  const Span timed = span("product");
  matmul_.run(y, residual, plain(x), transposed(stacked.w_and_b()), bias, scratch.workspace);
}

void CudaOps::do_lora_linear_backward(Tensor dx, Tensor dy, Tensor x, const LinearGroup& group) {
  if (x.rows == 0) return;
  const Arena::Scope scope(arena());
  const auto scratch = cuda::LoraLinearBackwardScratch::take(arena(), dy.rows, dy.dtype, group);
  const StackedWeights stacked = stacked_weights(group, scratch.weights, static_cast<bool>(dx));
  const int64_t in = group.in_features(), out = group.out_features(), tail = group.tail();
  const Tensor outer = dy.columns(0, out), u = dy.columns(out, tail);
  const Tensor input = x.columns(0, in), t = x.columns(in, tail);

  if (tail > 0) {
    const Span timed = span("adapter");
    matmul_.run(u, {}, plain(outer), plain(stacked.b()), {}, scratch.workspace);
    matmul_.run(scratch.gradient_b, {}, transposed(outer), plain(t), {}, scratch.workspace);
    if (!scratch.x)
      matmul_.run(scratch.gradient_a, {}, transposed(u), plain(input), {}, scratch.workspace);
    for_each_layer(group, [&](const LoraLinear& layer, int64_t first, int64_t rank) {
      if (!layer.lora) return;
      const auto& [a, b] = layer.gradient;
      const int64_t r = layer.lora.rank();
      const Tensor gradient_a = scratch.gradient_a.row_range(rank, r);
      if (scratch.x) {
        dropout(scratch.x, false, input, group.first_row, layer.lora);
        matmul_.run(gradient_a, {}, transposed(u.columns(rank, r)), plain(scratch.x), {},
                    scratch.workspace);
      }
      cuda::add_scaled(matrix(a), matrix(gradient_a), 1, stream_);
      cuda::add_scaled(matrix(b),
                       matrix(scratch.gradient_b.row_range(first, b.rows).columns(rank, r)),
                       layer.lora.scaling, stream_);
      check_launch("add_scaled");
    });
  }
  if (!dx) return;

  const Span timed = span("product");
  if (!scratch.x) {
    matmul_.run(dx, {}, plain(dy), plain(stacked.w_and_a()), {}, scratch.workspace);
    return;
  }
  matmul_.run(dx, {}, plain(outer), plain(stacked.w()), {}, scratch.workspace);
  for_each_layer(group, [&](const LoraLinear& layer, int64_t, int64_t rank) {
    if (!layer.lora) return;
    const int64_t r = layer.lora.rank();
    matmul_.run(scratch.x, {}, plain(u.columns(rank, r)), plain(stacked.a().row_range(rank, r)), {},
                scratch.workspace);
    dropout(dx, true, scratch.x, group.first_row, layer.lora);
  });
}

}  // namespace nibble
