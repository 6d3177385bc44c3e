// Small kernels around cuDNN: where documents lie, and statistics in the order that it reads.
#include "ops/cuda/kernels/attention_layout.h"

namespace nibble::cuda {
namespace {

constexpr int threads = 256;

unsigned blocks_for(int64_t n) { return static_cast<unsigned>((n + threads - 1) / threads); }

__global__ void ragged_layout_kernel(int32_t* lengths, int64_t* offsets,
                                     const int32_t* token_offsets, int64_t documents, int64_t batch,
                                     RowStrides strides) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i > batch) return;
  const int32_t begin = token_offsets[i < documents ? i : documents];
  if (i < batch) lengths[i] = i < documents ? token_offsets[i + 1] - begin : 0;
  for (int t = 0; t < strides.count; ++t) offsets[t * (batch + 1) + i] = begin * strides.stride[t];
}

__global__ void by_head_kernel(float* y, const float* x, int64_t n, int64_t length, int64_t heads) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const int64_t head = i / length % heads, document = i / length / heads;
  y[i] = x[(document * length + i % length) * heads + head];
}

}  // namespace

void ragged_layout(int32_t* lengths, int64_t* offsets, const int32_t* token_offsets,
                   int64_t documents, int64_t batch, const RowStrides& strides,
                   cudaStream_t stream) {
  ragged_layout_kernel<<<blocks_for(batch + 1), threads, 0, stream>>>(
      lengths, offsets, token_offsets, documents, batch, strides);
}

void statistics_by_head(float* y, const float* x, int64_t documents, int64_t length, int64_t heads,
                        cudaStream_t stream) {
  const int64_t n = documents * length * heads;
  by_head_kernel<<<blocks_for(n), threads, 0, stream>>>(y, x, n, length, heads);
}

}  // namespace nibble::cuda
