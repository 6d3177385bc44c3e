// Output head and loss, in chunks of trained rows: a masked token costs nothing, and the logits of
// one chunk are all that exists at a time.
#include <algorithm>
#include <cstring>

#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/scratch.h"

namespace nibble {

using cpu::plain;
using cpu::transposed;

void CpuOps::do_linear_cross_entropy(Tensor loss, Tensor dx, Tensor x, Tensor head, Tensor labels,
                                     int64_t trained, float gradient) {
  const Arena::Scope scope(arena());
  const auto scratch =
      cpu::CrossEntropyScratch::take(arena(), threads_, trained, x.cols, head.rows, x.dtype);
  const int32_t* label = labels.as<int32_t>();
  const int64_t vocabulary = head.rows, chunk = scratch.logits.rows;
  const size_t row_bytes = static_cast<size_t>(x.cols) * size_of(x.dtype);
  const auto kernel = elements(x.dtype).cross_entropy;
  float* losses = scratch.losses.as<float>();
  int32_t* targets = scratch.targets.as<int32_t>();

  double sum = 0;
  int64_t next = 0;  // first row of x that no chunk has looked at
  while (next < x.rows) {
    // dx may be x: its rows are written only after theirs of x were read.
    const int64_t first = next;
    int64_t rows = 0;
    for (; next < x.rows && (rows < chunk || label[next] < 0); ++next) {
      if (label[next] < 0) continue;
      std::memcpy(scratch.x.row_range(rows, 1).data, x.row_range(next, 1).data, row_bytes);
      targets[rows++] = label[next];
    }
    if (rows > 0) {
      const Tensor logits = scratch.logits.row_range(0, rows);
      matmul_.run(logits, false, plain(scratch.x.row_range(0, rows)), transposed(head), {},
                  scratch.workspace);
      cpu::parallel_ranges(threads_, rows, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          losses[i] = kernel(logits.row_range(i, 1).as<float>(), vocabulary, targets[i], gradient);
      });
      for (int64_t i = 0; i < rows; ++i) sum += static_cast<double>(losses[i]);
      if (dx) {
        const int64_t per_float = static_cast<int64_t>(sizeof(float) / size_of(x.dtype));
        const Tensor dlogits = {logits.data, rows, vocabulary, vocabulary * per_float, x.dtype};
        matmul_.run(scratch.x.row_range(0, rows), false, plain(dlogits), plain(head), {},
                    scratch.workspace);
      }
    }
    if (dx) {
      int64_t i = 0;
      for (int64_t row = first; row < next; ++row) {
        if (label[row] >= 0)
          std::memcpy(dx.row_range(row, 1).data, scratch.x.row_range(i++, 1).data, row_bytes);
        else
          std::memset(dx.row_range(row, 1).data, 0, row_bytes);
      }
    }
  }
  float& total = *loss.as<float>();
  total = static_cast<float>(static_cast<double>(total) + sum);
}

void CpuOps::do_logits(Tensor logits, Tensor x, Tensor head) {
  const Arena::Scope scope(arena());
  matmul_.run(logits, false, plain(x), transposed(head), {},
              cpu::matmul_workspace(arena(), threads_));
}

}  // namespace nibble
