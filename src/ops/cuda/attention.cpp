// Causal attention within documents: by cuDNN where it computes the shape (attention_scratch.h),
// else by the kernels for any shape and dtype.
#include <algorithm>
#include <array>

#include "ops/cuda/attention_scratch.h"
#include "ops/cuda/check.h"
#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/matrix.h"
#include "ops/cuda/scratch.h"

namespace nibble {

cuda::AttentionProblem CudaOps::attention_problem(Tensor offsets, bool cudnn, Tensor q, Tensor k,
                                                  Tensor v, const Documents& documents,
                                                  const AttentionShape& shape) {
  constexpr int64_t largest_head = 256;
  if (shape.head_dim > largest_head)
    fail(ErrorKind::usage,
         "this model's heads have {} channels, and attention on a GPU computes at most {}; use "
         "--device cpu",
         shape.head_dim, largest_head);
  const int64_t longest = cuda::longest_of(documents.query_offsets);
  // A dense batch of cuDNN's is known by its shape.
  if (!cudnn || cuda::cudnn_batch(documents.count(), q.rows, longest).ragged) {
    do_upload(offsets.row_range(0, 1), std::as_bytes(documents.query_offsets));
    do_upload(offsets.row_range(1, 1), std::as_bytes(documents.key_offsets));
  }
  cuda::AttentionProblem problem{};
  problem.q = cuda::matrix(q);
  problem.k = cuda::matrix(k);
  problem.v = cuda::matrix(v);
  problem.query_offsets = offsets.as<int32_t>();
  problem.key_offsets = offsets.row_range(1, 1).as<int32_t>();
  problem.documents = documents.count();
  problem.longest_queries = longest;
  problem.longest_keys = cuda::longest_of(documents.key_offsets);
  problem.heads = shape.heads;
  problem.kv_heads = shape.kv_heads;
  problem.head_dim = shape.head_dim;
  problem.window = shape.window;
  problem.scale = shape.scale;
  return problem;
}

void CudaOps::do_attention_forward(Tensor out, Tensor lse, Tensor q, Tensor k, Tensor v,
                                   const Documents& documents, const AttentionShape& shape) {
  const Arena::Scope scope(arena());
  const auto scratch =
      cuda::AttentionScratch::take_forward(arena(), out, q, k, v, documents, shape);
  const auto problem = attention_problem(scratch.offsets, static_cast<bool>(scratch.cudnn), q, k, v,
                                         documents, shape);
  if (scratch.cudnn) {
    attention_.forward(cuda::matrix(out), lse.as<float>(), problem, scratch.cudnn.data,
                       scratch.cudnn.bytes());
    return;
  }
  cuda::attention_forward(cuda::matrix(out), lse.as<float>(), problem, stream_);
  cuda::check_launch("attention_forward");
}

void CudaOps::do_attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor dout, Tensor out,
                                    Tensor lse, Tensor q, Tensor k, Tensor v,
                                    const Documents& documents, const AttentionShape& shape) {
  const Arena::Scope scope(arena());
  const auto scratch = cuda::AttentionScratch::take_backward(
      arena(), std::array{q, k, v, out, dout, dq, dk, dv}, documents, shape);
  const auto problem = attention_problem(scratch.offsets, static_cast<bool>(scratch.cudnn), q, k, v,
                                         documents, shape);
  if (scratch.cudnn) {
    attention_.backward(cuda::matrix(dq), cuda::matrix(dk), cuda::matrix(dv), cuda::matrix(dout),
                        cuda::matrix(out), lse.as<float>(), problem, scratch.cudnn.data,
                        scratch.cudnn.bytes());
    return;
  }
  cuda::attention_backward(cuda::matrix(dq), cuda::matrix(dk), cuda::matrix(dv), cuda::matrix(dout),
                           cuda::matrix(out), lse.as<float>(), scratch.delta.as<float>(), problem,
                           stream_);
  cuda::check_launch("attention_backward");
}

}  // namespace nibble
