// Causal attention within documents: the kernels for any shape and dtype.
#include <algorithm>

#include "ops/cuda/check.h"
#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/matrix.h"
#include "ops/cuda/scratch.h"

namespace nibble {
namespace {

int64_t longest(std::span<const int32_t> offsets) {
  int32_t most = 0;
  for (size_t i = 1; i < offsets.size(); ++i) most = std::max(most, offsets[i] - offsets[i - 1]);
  return most;
}

}  // namespace

cuda::AttentionProblem CudaOps::attention_problem(Tensor offsets, Tensor q, Tensor k, Tensor v,
                                                  const Documents& documents,
                                                  const AttentionShape& shape) {
  do_upload(offsets.row_range(0, 1), std::as_bytes(documents.query_offsets));
  do_upload(offsets.row_range(1, 1), std::as_bytes(documents.key_offsets));
  cuda::AttentionProblem problem{};
  problem.q = cuda::matrix(q);
  problem.k = cuda::matrix(k);
  problem.v = cuda::matrix(v);
  problem.query_offsets = offsets.as<int32_t>();
  problem.key_offsets = offsets.row_range(1, 1).as<int32_t>();
  problem.documents = documents.count();
  problem.longest_queries = longest(documents.query_offsets);
  problem.longest_keys = longest(documents.key_offsets);
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
  const auto scratch = cuda::AttentionScratch::take_forward(arena(), documents.count());
  cuda::attention_forward(cuda::matrix(out), lse.as<float>(),
                          attention_problem(scratch.offsets, q, k, v, documents, shape), stream_);
  cuda::check_launch("attention_forward");
}

void CudaOps::do_attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor dout, Tensor out,
                                    Tensor lse, Tensor q, Tensor k, Tensor v,
                                    const Documents& documents, const AttentionShape& shape) {
  const Arena::Scope scope(arena());
  const auto scratch =
      cuda::AttentionScratch::take_backward(arena(), documents.count(), q.rows, shape);
  cuda::attention_backward(cuda::matrix(dq), cuda::matrix(dk), cuda::matrix(dv), cuda::matrix(dout),
                           cuda::matrix(out), lse.as<float>(), scratch.delta.as<float>(),
                           attention_problem(scratch.offsets, q, k, v, documents, shape), stream_);
  cuda::check_launch("attention_backward");
}

}  // namespace nibble
