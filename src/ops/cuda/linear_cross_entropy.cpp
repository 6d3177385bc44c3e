// Output head and loss, in chunks of trained rows: a masked token costs nothing, and the logits of
// one chunk are all that exists at a time.
#include <algorithm>

#include "ops/cuda/check.h"
#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/matrix.h"
#include "ops/cuda/scratch.h"

namespace nibble {

using cuda::check_launch;
using cuda::matrix;
using cuda::plain;
using cuda::transposed;

void CudaOps::do_linear_cross_entropy(Tensor loss, Tensor dx, Tensor x, Tensor head, Tensor labels,
                                      int64_t trained, float gradient) {
  const Arena::Scope scope(arena());
  const auto scratch =
      cuda::CrossEntropyScratch::take(arena(), trained, x.cols, head.rows, x.dtype);
  const int64_t vocabulary = head.rows, chunk = scratch.logits.rows;
  const auto* rows = scratch.rows.as<int32_t>();
  const auto* targets = scratch.targets.as<int32_t>();
  cuda::trained_rows(scratch.rows.as<int32_t>(), scratch.targets.as<int32_t>(),
                     labels.as<int32_t>(), x.rows, trained, stream_);
  check_launch("trained_rows");
  // dx may be x: then the masked rows are cleared last, and the trained ones replaced in turn.
  if (dx && dx.data != x.data) do_zero(dx);
  for (int64_t first = 0; first < trained; first += chunk) {
    const int64_t count = std::min(chunk, trained - first);
    const Tensor input = scratch.x.row_range(0, count);
    const Tensor logits = scratch.logits.row_range(0, count);
    cuda::gather_rows(matrix(input), matrix(x), rows + first, count, stream_);
    check_launch("gather_rows");
    {
      const Span timed = span("logits product");
      matmul_.run(logits, {}, plain(input), transposed(head), {}, scratch.workspace);
    }
    float* losses = scratch.losses.as<float>();
    cuda::cross_entropy(losses, logits.as<float>(), targets + first, count, vocabulary, gradient,
                        static_cast<bool>(dx), x.dtype, stream_);
    check_launch("cross_entropy");
    cuda::add_sum(loss.as<float>(), losses, count, stream_);
    check_launch("add_sum");
    if (!dx) continue;
    const int64_t per_float = static_cast<int64_t>(sizeof(float) / size_of(x.dtype));
    const Tensor dlogits = {logits.data, count, vocabulary, vocabulary * per_float, x.dtype};
    {
      const Span timed = span("gradient product");
      matmul_.run(input, {}, plain(dlogits), plain(head), {}, scratch.workspace);
    }
    cuda::scatter_rows(matrix(dx), matrix(input), rows + first, count, stream_);
    check_launch("scatter_rows");
  }
  if (dx && dx.data == x.data) {
    cuda::zero_masked_rows(matrix(dx), labels.as<int32_t>(), stream_);
    check_launch("zero_masked_rows");
  }
}

void CudaOps::do_logits(Tensor logits, Tensor x, Tensor head) {
  const Arena::Scope scope(arena());
  const Tensor workspace = cuda::matmul_workspace(arena());
  matmul_.run(logits, {}, plain(x), transposed(head), {}, workspace);
}

}  // namespace nibble
