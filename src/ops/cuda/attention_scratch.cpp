#include "ops/cuda/attention_scratch.h"

#include <algorithm>
#include <bit>

namespace nibble::cuda {
namespace {

constexpr int64_t tile = 128;                    // rows of cuDNN's tiles
constexpr int64_t longest_square = 1 << 20;      // beyond it score_bytes could overflow
constexpr int64_t own_bytes = int64_t{1} << 20;  // counters of cuDNN's schedulers; 17 KiB seen

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

// The gradients of the scores of one key head on so many queries and keys, in bytes.
int64_t score_bytes(int64_t rows, const AttentionShape& shape) {
  return shape.heads / shape.kv_heads * rows * rows * 2;
}

// The rows of a document's blocks, in as few as the limits permit and as equal as whole tiles are.
int64_t block_rows(int64_t length, const AttentionShape& shape, const CudnnLimits& limits) {
  int64_t most = std::max(limits.rows / tile, int64_t{1});
  while (most > 1 && score_bytes(most * tile, shape) > limits.blocks) --most;
  return share(length / tile, most) * tile;
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
                             int64_t longest, const AttentionShape& shape,
                             const CudnnLimits& limits) {
  const bool window = shape.window > 0 && shape.window < longest;
  return supports(compute, queries, keys, shape) &&
         !cudnn_batch(documents, queries, longest).ragged && longest <= longest_square &&
         (score_bytes(longest, shape) <= limits.whole || !window);
}

CudnnPart cudnn_backward_part(int64_t documents, int64_t length, const AttentionShape& shape,
                              const CudnnLimits& limits) {
  const bool whole = score_bytes(length, shape) <= limits.whole;
  const int64_t rows = whole ? length : block_rows(length, shape, limits);
  const int64_t heads =  // that fit
      (whole ? limits.parts : limits.blocks) / score_bytes(rows, shape);
  if (whole && heads >= shape.kv_heads)
    return {share(documents, heads / shape.kv_heads), shape.kv_heads, rows};
  return {1, share(shape.kv_heads, std::clamp(heads, int64_t{1}, shape.kv_heads)), rows};
}

int64_t cudnn_forward_bytes(int64_t documents, int64_t tokens, int64_t longest) {
  const CudnnBatch batch = cudnn_batch(documents, tokens, longest);
  // Lengths, and offsets of q, k, v, out and the statistics.
  const int64_t layout = batch.ragged ? 4 * batch.documents + 5 * 8 * (batch.documents + 1) : 0;
  return own_bytes + 256 * batch.documents + 3 * 256 + layout;
}

// Of a call, either the scores' gradients or, on compute capability 10, dq in float32; with grouped
// heads dk and dv of each query head before they are added up; delta. Of all, statistics by head.
// Of blocks, the gradients that a call gives, and their float32 sums: of dq for a block's queries,
// of dk and dv for all keys of the call's heads.
int64_t cudnn_backward_bytes(int64_t documents, int64_t length, const AttentionShape& shape,
                             const CudnnLimits& limits) {
  const CudnnPart part = cudnn_backward_part(documents, length, shape, limits);
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t heads = part.documents * part.kv_heads;  // key heads of a call
  const int64_t rows = heads * group * part.rows;
  const int64_t scores = heads * score_bytes(part.rows, shape);
  const int64_t dq = rows * round_up(shape.head_dim, 64) * 4;
  const int64_t dk_dv = group == 1 ? 0 : 2 * rows * shape.head_dim * 2;
  int64_t sums = 0;
  if (part.rows < length) {
    const int64_t given = rows + 2 * heads * part.rows, added = rows + 2 * heads * length;
    sums = (2 * given + 4 * added) * shape.head_dim;
  }
  return own_bytes + std::max(scores, dq) + dk_dv + sums + 4 * rows +
         4 * documents * length * shape.heads;
}

}  // namespace nibble::cuda
