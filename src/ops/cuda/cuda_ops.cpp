#include "ops/cuda/cuda_ops.h"

#include <algorithm>

#include "ops/cuda/check.h"
#include "ops/cuda/matrix.h"

namespace nibble {

using cuda::check;
using cuda::check_launch;
using cuda::matrix;

CudaOps::CudaOps(Arena& arena, int device, Arena* far)
    : Ops(arena, far),
      stream_(device),
      side_(device),
      copies_(stream_, device),
      staging_(stream_),
      matmul_(stream_),
      attention_(stream_),
      recording_(stream_) {}

void CudaOps::do_repeat(const Key& key, const std::function<void()>& work) {
  Key all = key;
  all.push_back(static_cast<int64_t>(arena().used()));
  end_preparing();  // a recording can wait for nothing that began before it
  recording_.run(all, [&] {
    work();
    end_preparing();
  });
}

void CudaOps::zero_columns(Tensor y, cudaStream_t stream) {
  const size_t size = size_of(y.dtype);
  check(cudaMemset2DAsync(y.data, static_cast<size_t>(y.stride) * size, 0,
                          static_cast<size_t>(y.cols) * size, static_cast<size_t>(y.rows), stream),
        "cudaMemset2DAsync");
}

void CudaOps::do_zero(Tensor y) {
  if (!y.dense()) return zero_columns(y, stream_);
  check(cudaMemsetAsync(y.data, 0, static_cast<size_t>(y.bytes()), stream_), "cudaMemsetAsync");
}

void CudaOps::copy_on(Tensor y, Tensor x, cudaStream_t stream) {
  if (x.size() == 0) return;
  const size_t size = size_of(y.dtype);
  const auto stride = [&](Tensor t) {
    return static_cast<size_t>(std::max(t.stride, t.cols)) * size;
  };
  check(cudaMemcpy2DAsync(y.data, stride(y), x.data, stride(x), static_cast<size_t>(x.cols) * size,
                          static_cast<size_t>(x.rows), cudaMemcpyDefault, stream),
        "cudaMemcpy2DAsync");
}

void CudaOps::do_copy(Tensor y, Tensor x) { copy_on(y, x, stream_); }

void CudaOps::do_scatter_rows(Tensor y, Tensor x, Tensor rows) {
  cuda::scatter_rows(matrix(y), matrix(x), rows.as<int32_t>(), x.rows, stream_);
  check_launch("scatter_rows");
}

void CudaOps::do_convert(Tensor y, Tensor x) {
  cuda::convert(y.data, y.dtype, x.data, x.dtype, x.size(), stream_);
  check_launch("convert");
}

void CudaOps::do_upload(Tensor y, std::span<const std::byte> x) { staging_.upload(y.data, x); }

void CudaOps::do_download(std::span<std::byte> y, Tensor x) {
  check(cudaMemcpyAsync(y.data(), x.data, y.size(), cudaMemcpyDeviceToHost, stream_),
        "cudaMemcpyAsync");
  check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
}

Ops::Ticket CudaOps::do_fetch(Tensor y, Tensor x) {
  const auto bytes = static_cast<size_t>(x.bytes());
  return {copies_.copy(cuda::FarCopies::inward, y.data, x.data, bytes), false};
}

Ops::Ticket CudaOps::do_store(Tensor y, Tensor x) {
  const auto bytes = static_cast<size_t>(x.bytes());
  return {copies_.copy(cuda::FarCopies::outward, y.data, x.data, bytes), true};
}

void CudaOps::do_wait(Ticket ticket) {
  copies_.wait(ticket.outward ? cuda::FarCopies::outward : cuda::FarCopies::inward, ticket.number);
}

void CudaOps::do_embedding(Tensor y, Tensor table, Tensor ids) {
  cuda::embedding(matrix(y), matrix(table), ids.as<int32_t>(), stream_);
  check_launch("embedding");
}

void CudaOps::do_rope_tables(Tensor cos, Tensor sin, Tensor positions, Tensor variants,
                             Tensor inverse_frequencies, float factor) {
  cuda::rope_tables(cos.as<float>(), sin.as<float>(), positions.as<int32_t>(),
                    variants.as<int32_t>(), inverse_frequencies.as<float>(), cos.rows, cos.cols,
                    factor, stream_);
  check_launch("rope_tables");
}

void CudaOps::do_rope(Tensor x, Tensor cos, Tensor sin, int64_t head_dim, bool backward) {
  cuda::rope(matrix(x), cos.as<float>(), sin.as<float>(), head_dim, cos.cols, backward, stream_);
  check_launch("rope");
}

void CudaOps::do_rms_norm_forward(Tensor y, Tensor rstd, Tensor x, Tensor weight, float epsilon) {
  cuda::rms_norm_forward(matrix(y), rstd.as<float>(), matrix(x), weight.as<float>(), weight.cols,
                         epsilon, stream_);
  check_launch("rms_norm_forward");
}

void CudaOps::do_rms_norm_backward(Tensor dx, bool accumulate, Tensor dy, Tensor x, Tensor weight,
                                   Tensor rstd) {
  cuda::rms_norm_backward(matrix(dx), accumulate, matrix(dy), matrix(x), weight.as<float>(),
                          rstd.as<float>(), weight.cols, stream_);
  check_launch("rms_norm_backward");
}

void CudaOps::do_gated_silu_forward(Tensor y, Tensor gate, Tensor up) {
  cuda::gated_silu_forward(matrix(y), matrix(gate), matrix(up), stream_);
  check_launch("gated_silu_forward");
}

void CudaOps::do_gated_silu_backward(Tensor dgate, Tensor dup, Tensor dy, Tensor gate, Tensor up) {
  cuda::gated_silu_backward(matrix(dgate), matrix(dup), matrix(dy), matrix(gate), matrix(up),
                            stream_);
  check_launch("gated_silu_backward");
}

}  // namespace nibble
