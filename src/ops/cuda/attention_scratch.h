// Which attention cuDNN computes, and the memory to reserve for it, as functions of shapes and
// dtypes: the plan needs them on machines without CUDA.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "ops/ops.h"

namespace nibble::cuda {

// Documents as cuDNN sees them. Where all have the same length, a multiple of 128, they are a dense
// batch; else lengths and offsets are read from device memory, and number and length are rounded
// up, so that few graphs serve all batches.
struct CudnnBatch {
  bool ragged;
  int64_t documents, length;
};
CudnnBatch cudnn_batch(int64_t documents, int64_t tokens, int64_t longest);

// bf16 or f16, head_dim a multiple of 8 up to 128, as many queries as keys. Backward: also a dense
// batch, of which one key head of one document needs no more than cudnn_backward_part may take.
// Where false, the kernels compute the same.
bool cudnn_supports_forward(DType compute, int64_t queries, int64_t keys,
                            const AttentionShape& shape);
bool cudnn_supports_backward(DType compute, int64_t queries, int64_t keys, int64_t documents,
                             int64_t longest, const AttentionShape& shape);

// The deterministic algorithm writes the gradient of all scores before it multiplies them with k.
// So that this stays small, backward computes a dense batch in several calls, each of at most this
// many documents and key heads: all key heads, or one document.
struct CudnnPart {
  int64_t documents, kv_heads;
};
CudnnPart cudnn_backward_part(int64_t documents, int64_t length, const AttentionShape& shape);

// Bytes, an upper bound for compute capabilities 8.0 to 10.x.
int64_t cudnn_forward_bytes(int64_t documents, int64_t tokens, int64_t longest);
int64_t cudnn_backward_bytes(int64_t documents, int64_t length, const AttentionShape& shape);

}  // namespace nibble::cuda
