// The gated activation of the feed-forward layer, y = silu(gate) * up.
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/parallel.h"

namespace nibble {

void CpuOps::do_gated_silu_forward(Tensor y, Tensor gate, Tensor up) {
  const auto kernel = elements(y.dtype).gated_silu_forward;
  cpu::parallel_ranges(threads_, y.rows, 8, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      kernel(y.row_range(r, 1).data, gate.row_range(r, 1).data, up.row_range(r, 1).data, y.cols);
  });
}

void CpuOps::do_gated_silu_backward(Tensor dgate, Tensor dup, Tensor dy, Tensor gate, Tensor up) {
  const auto kernel = elements(dy.dtype).gated_silu_backward;
  cpu::parallel_ranges(threads_, dy.rows, 8, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      kernel(dgate.row_range(r, 1).data, dup.row_range(r, 1).data, dy.row_range(r, 1).data,
             gate.row_range(r, 1).data, up.row_range(r, 1).data, dy.cols);
  });
}

}  // namespace nibble
