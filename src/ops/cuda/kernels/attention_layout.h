// What cuDNN's attention must be told about documents, computed on the device: attention_layout.cu.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace nibble::cuda {

// Rows of `count` tensors, which all begin where the documents do.
struct RowStrides {
  static constexpr int most = 5;
  int64_t stride[most];
  int count;
};

// lengths: [batch], of each document; zero from `documents` on.
// offsets: [strides.count, batch + 1], where in each tensor a document begins, in elements.
void ragged_layout(int32_t* lengths, int64_t* offsets, const int32_t* token_offsets,
                   int64_t documents, int64_t batch, const RowStrides& strides,
                   cudaStream_t stream);

// y: [documents, heads, length] from x: [documents * length, heads].
void statistics_by_head(float* y, const float* x, int64_t documents, int64_t length, int64_t heads,
                        cudaStream_t stream);

}  // namespace nibble::cuda
