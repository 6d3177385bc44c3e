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

// The deterministic backward writes the gradient of all scores before it multiplies them with k. So
// that this stays small it is computed in several calls: each on some documents and key heads; or,
// where one key head of one document needs too much, on a block of some queries and some keys of
// it. What a call may write, in bytes; tests choose other limits.
struct CudnnLimits {
  int64_t whole = int64_t{1} << 30;     // of one key head of a document that is not cut
  int64_t parts = int64_t{448} << 20;   // of a call on such documents, where possible
  int64_t blocks = int64_t{256} << 20;  // of a call on a block, where possible
  int64_t rows = 8192;                  // the most queries, and keys, of a block
};

// bf16 or f16, head_dim a multiple of 8 up to 128, as many queries as keys. Backward: also a dense
// batch; and a window that cuts only where documents are not cut: with one, the time is linear in
// the length, and what blocks could win is little. Where false, the kernels compute the same.
bool cudnn_supports_forward(DType compute, int64_t queries, int64_t keys,
                            const AttentionShape& shape);
bool cudnn_supports_backward(DType compute, int64_t queries, int64_t keys, int64_t documents,
                             int64_t longest, const AttentionShape& shape,
                             const CudnnLimits& limits = {});

// Each call is of at most so many documents and key heads: all key heads, or one document. A block
// is of so many rows, a multiple of 128, fewer at the document's end; `length` where it is whole.
struct CudnnPart {
  int64_t documents, kv_heads, rows;
};
CudnnPart cudnn_backward_part(int64_t documents, int64_t length, const AttentionShape& shape,
                              const CudnnLimits& limits = {});

// Calls visit(block) for all blocks of a document that hold a query and a key that it sees, in the
// order of their computation: by queries, then by keys. So the first block of some queries has
// key == 0 and their last is on the diagonal, which is also the first of its keys.
struct CudnnBlock {
  int64_t query, queries, key, keys;              // first row and number of rows
  bool diagonal() const { return query == key; }  // causal; else every query sees every key
};
template <typename Visit>
void for_each_block(int64_t length, int64_t rows, const Visit& visit) {
  const auto from = [&](int64_t row) { return row + rows < length ? rows : length - row; };
  for (int64_t query = 0; query < length; query += rows)
    for (int64_t key = 0; key <= query; key += rows)
      visit(CudnnBlock{query, from(query), key, from(key)});
}

// Bytes, an upper bound for compute capabilities 8.0 to 10.x.
int64_t cudnn_forward_bytes(int64_t documents, int64_t tokens, int64_t longest);
int64_t cudnn_backward_bytes(int64_t documents, int64_t length, const AttentionShape& shape,
                             const CudnnLimits& limits = {});

}  // namespace nibble::cuda
