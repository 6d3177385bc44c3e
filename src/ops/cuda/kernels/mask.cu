// Rows of masked tokens.
#include "ops/cuda/kernels/elements.cuh"

namespace nibble::cuda {
namespace {

constexpr int threads = 128;

__global__ void __launch_bounds__(threads)
    zero_masked_rows_kernel(char* y, int64_t row_bytes, int64_t stride_bytes,
                            const int32_t* labels) {
  if (labels[blockIdx.x] >= 0) return;
  char* row = y + blockIdx.x * stride_bytes;
  for (int64_t i = threadIdx.x; i < row_bytes; i += threads) row[i] = 0;
}

}  // namespace

void zero_masked_rows(Matrix y, const int32_t* labels, cudaStream_t stream) {
  if (y.rows <= 0) return;
  const auto size = static_cast<int64_t>(size_of(y.dtype));
  zero_masked_rows_kernel<<<static_cast<unsigned>(y.rows), threads, 0, stream>>>(
      data_of<char>(y), y.cols * size, y.stride * size, labels);
}

}  // namespace nibble::cuda
