// RMS norm, forward and backward, group by group.
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/parallel.h"

namespace nibble {

void CpuOps::do_rms_norm_forward(Tensor y, Tensor rstd, Tensor x, Tensor weight, float epsilon) {
  const auto kernel = elements(x.dtype).rms_norm_forward;
  const int64_t n = weight.cols;
  const float* w = weight.as<float>();
  cpu::parallel_ranges(threads_, x.rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      for (int64_t group = 0; group < rstd.cols; ++group)
        kernel(y.row_range(r, 1).columns(group * n, n).data,
               rstd.row_range(r, 1).as<float>() + group,
               x.row_range(r, 1).columns(group * n, n).data, w, n, epsilon);
  });
}

void CpuOps::do_rms_norm_backward(Tensor dx, bool accumulate, Tensor dy, Tensor x, Tensor weight,
                                  Tensor rstd) {
  const auto kernel = elements(x.dtype).rms_norm_backward;
  const int64_t n = weight.cols;
  const float* w = weight.as<float>();
  cpu::parallel_ranges(threads_, x.rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      for (int64_t group = 0; group < rstd.cols; ++group)
        kernel(dx.row_range(r, 1).columns(group * n, n).data, accumulate,
               dy.row_range(r, 1).columns(group * n, n).data,
               x.row_range(r, 1).columns(group * n, n).data, w,
               rstd.row_range(r, 1).as<float>()[group], n);
  });
}

}  // namespace nibble
