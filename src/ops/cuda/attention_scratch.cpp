#include "ops/cuda/attention_scratch.h"

#include <algorithm>
#include <bit>

namespace nibble::cuda {
namespace {

constexpr int64_t tile = 128;                    // rows of cuDNN's tiles
constexpr int64_t own_bytes = int64_t{1} << 20;  // counters of cuDNN's schedulers; 17 KiB seen

int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// The next of 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, ...: at most a quarter more.
int64_t bucket(int64_t n) {
  const auto bits = static_cast<int>(std::bit_width(static_cast<uint64_t>(n)));
  return round_up(n, int64_t{1} << (bits > 3 ? bits - 3 : 0));
}

bool supports(DType compute, int64_t queries, int64_t keys, const AttentionShape& shape) {
  return (compute == DType::bf16 || compute == DType::f16) && shape.head_dim % 8 == 0 &&
         shape.head_dim <= 128 && queries == keys && queries > 0;
}

}  // namespace

CudnnBatch cudnn_batch(int64_t documents, int64_t tokens, int64_t longest) {
  if (documents * longest == tokens && longest % tile == 0) return {false, documents, longest};
  return {true, bucket(documents), tile * bucket(round_up(longest, tile) / tile)};
}

bool cudnn_supports_forward(DType compute, int64_t queries, int64_t keys,
                            const AttentionShape& shape) {
  return supports(compute, queries, keys, shape);
}

bool cudnn_supports_backward(DType compute, int64_t queries, int64_t keys, int64_t documents,
                             int64_t longest, const AttentionShape& shape) {
  return supports(compute, queries, keys, shape) &&
         !cudnn_batch(documents, queries, longest).ragged;
}

int64_t cudnn_forward_bytes(int64_t documents, int64_t tokens, int64_t longest) {
  const CudnnBatch batch = cudnn_batch(documents, tokens, longest);
  // Lengths, and offsets of q, k, v, out and the statistics.
  const int64_t layout = batch.ragged ? 4 * batch.documents + 5 * 8 * (batch.documents + 1) : 0;
  return own_bytes + round_up(layout, 256);
}

// The deterministic algorithm writes ds before it is multiplied with k; on compute capability 10 it
// adds dq up in float32 instead. With grouped heads it computes dk and dv of each query head first.
int64_t cudnn_backward_bytes(int64_t documents, int64_t longest, const AttentionShape& shape) {
  const int64_t rows = documents * longest * shape.heads;
  const int64_t ds = rows * round_up(longest, tile) * 2;
  const int64_t dq = rows * round_up(shape.head_dim, 64) * 4;
  const int64_t dk_dv = shape.heads == shape.kv_heads ? 0 : 2 * rows * shape.head_dim * 2;
  const int64_t sums = 2 * rows * 4;  // delta, and the statistics by head
  return own_bytes + std::max(ds, dq) + dk_dv + sums;
}

}  // namespace nibble::cuda
