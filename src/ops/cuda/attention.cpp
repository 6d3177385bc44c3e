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
namespace {

// The kernels' view.
cuda::AttentionProblem attention_problem(Tensor q, Tensor k, Tensor v, const Documents& documents,
                                         const AttentionShape& shape) {
  constexpr int64_t largest_head = 256;
  if (shape.head_dim > largest_head)
    fail(ErrorKind::usage,
         "this model's heads have {} channels, and attention on a GPU computes at most {}; use "
         "--device cpu",
         shape.head_dim, largest_head);
  cuda::AttentionProblem problem{};
  problem.q = cuda::matrix(q);
  problem.k = cuda::matrix(k);
  problem.v = cuda::matrix(v);
  problem.query_offsets = documents.offsets.as<int32_t>();
  problem.key_offsets = documents.offsets.row_range(1, 1).as<int32_t>();
  problem.documents = documents.count();
  problem.longest_queries = cuda::longest_of(documents.query_offsets);
  problem.longest_keys = cuda::longest_of(documents.key_offsets);
  problem.heads = shape.heads;
  problem.kv_heads = shape.kv_heads;
  problem.head_dim = shape.head_dim;
  problem.window = shape.window;
  problem.scale = shape.scale;
  return problem;
}

}  // namespace

void CudaOps::do_attention_forward(Tensor out, Tensor lse, Tensor q, Tensor k, Tensor v,
                                   const Documents& documents, const AttentionShape& shape) {
  const Arena::Scope scope(arena());
  const auto scratch =
      cuda::AttentionScratch::take_forward(arena(), out, q, k, v, documents, shape);
  const auto problem = attention_problem(q, k, v, documents, shape);
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
  const auto problem = attention_problem(q, k, v, documents, shape);
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
