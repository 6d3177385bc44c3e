// Backward of a document too long for one call: cudnn_attention.h says why its blocks add up.
#include "ops/cuda/check.h"
#include "ops/cuda/cudnn_attention.h"
#include "ops/cuda/matrix.h"

namespace nibble::cuda {
namespace {

// sum (+)= x, both without gaps.
void add_share(const Matrix& sum, const Matrix& x, bool accumulate, cudaStream_t stream) {
  if (accumulate)
    add_scaled(sum, x, 1, stream);
  else
    convert(sum.data, sum.dtype, x.data, x.dtype, x.rows * x.cols, stream);
}

}  // namespace

// Queries by queries, so that of dq one block's sum suffices. dk and dv lie side by side, and are
// added in one launch.
void CudnnAttention::backward_in_blocks(const Operands& all, const float* statistics,
                                        int64_t query_head, int64_t rows, const AttentionProblem& a,
                                        Pieces pieces) {
  const int64_t length = all.q.rows, query_columns = all.q.cols, columns = all.k.cols;
  const Matrix dq_sums = pieces.matrix(rows, query_columns, DType::f32);
  const Matrix dk_dv_sums = pieces.matrix(length, 2 * columns, DType::f32);
  const Matrix dq_shares = pieces.matrix(rows, query_columns, all.q.dtype);
  const Matrix dk_dv_shares = pieces.matrix(rows, 2 * columns, all.q.dtype);
  for_each_block(length, rows, [&](const CudnnBlock& block) {
    const Matrix dq_share = rows_of(dq_shares, 0, block.queries);
    const Matrix dk_dv_share = rows_of(dk_dv_shares, 0, block.keys);
    Operands call = all.of_rows(block.query, block.queries, block.key, block.keys);
    const Matrix dq = call.dq;
    call.dq = dq_share;
    call.dk = columns_of(dk_dv_share, 0, columns);
    call.dv = columns_of(dk_dv_share, columns, columns);
    call_backward(call, statistics + block.query * a.heads + query_head * block.queries, 1,
                  block.diagonal(), a, pieces);

    const Matrix dq_sum = rows_of(dq_sums, 0, block.queries);
    add_share(dq_sum, dq_share, block.key > 0, stream_);
    add_share(rows_of(dk_dv_sums, block.key, block.keys), dk_dv_share, !block.diagonal(), stream_);
    if (block.diagonal()) scale_from_f32(dq, dq_sum, 1, stream_);
  });
  scale_from_f32(all.dk, columns_of(dk_dv_sums, 0, columns), 1, stream_);
  scale_from_f32(all.dv, columns_of(dk_dv_sums, columns, columns), 1, stream_);
  check_launch("adding up attention's gradients");
}

}  // namespace nibble::cuda
