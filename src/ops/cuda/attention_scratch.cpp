#include "ops/cuda/attention_scratch.h"

#include <algorithm>
#include <bit>

namespace nibble::cuda {
namespace {

constexpr int64_t tile = 128;                       // rows of cuDNN's tiles
constexpr int64_t part_bytes = int64_t{448} << 20;  // scores of a call of backward, where possible
constexpr int64_t most_bytes = int64_t{1} << 30;    // and of the smallest call
constexpr int64_t longest_square = 1 << 20;         // beyond it score_bytes could overflow
constexpr int64_t own_bytes = int64_t{1} << 20;     // counters of cuDNN's schedulers; 17 KiB seen

int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// The next of 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, ...: at most a quarter more.
int64_t bucket(int64_t n) {
  const auto bits = static_cast<int>(std::bit_width(static_cast<uint64_t>(n)));
  return round_up(n, int64_t{1} << (bits > 3 ? bits - 3 : 0));
}

// Of `all`, how many at a time, in calls as equal as possible that have at most `most` of them.
int64_t share(int64_t all, int64_t most) {
  const int64_t calls = (all + most - 1) / most;
  return (all + calls - 1) / calls;
}

// The gradients of the scores of one key head of one document, in bytes.
int64_t score_bytes(int64_t length, const AttentionShape& shape) {
  return shape.heads / shape.kv_heads * length * length * 2;
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
         !cudnn_batch(documents, queries, longest).ragged && longest <= longest_square &&
         score_bytes(longest, shape) <= most_bytes;
}

CudnnPart cudnn_backward_part(int64_t documents, int64_t length, const AttentionShape& shape) {
  const int64_t heads = part_bytes / score_bytes(length, shape);  // that fit
  if (heads >= shape.kv_heads) return {share(documents, heads / shape.kv_heads), shape.kv_heads};
  return {1, share(shape.kv_heads, std::max<int64_t>(heads, 1))};
}

int64_t cudnn_forward_bytes(int64_t documents, int64_t tokens, int64_t longest) {
  const CudnnBatch batch = cudnn_batch(documents, tokens, longest);
  // Lengths, and offsets of q, k, v, out and the statistics.
  const int64_t layout = batch.ragged ? 4 * batch.documents + 5 * 8 * (batch.documents + 1) : 0;
  return own_bytes + 256 * batch.documents + 3 * 256 + layout;
}

// Of a call, either the scores' gradients or, on compute capability 10, dq in float32; with grouped
// heads dk and dv of each query head before they are added up; delta. Of all, statistics by head.
int64_t cudnn_backward_bytes(int64_t documents, int64_t length, const AttentionShape& shape) {
  const CudnnPart part = cudnn_backward_part(documents, length, shape);
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t rows = part.documents * part.kv_heads * group * length;
  const int64_t scores = part.documents * part.kv_heads * score_bytes(length, shape);
  const int64_t dq = rows * round_up(shape.head_dim, 64) * 4;
  const int64_t dk_dv = group == 1 ? 0 : 2 * rows * shape.head_dim * 2;
  return own_bytes + std::max(scores, dq) + dk_dv + 4 * rows + 4 * documents * length * shape.heads;
}

}  // namespace nibble::cuda
