// Rotary position embedding (Su et al. 2021).
#include <cmath>

#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/parallel.h"

namespace nibble {

void CpuOps::do_rope_tables(Tensor cos, Tensor sin, Tensor positions, Tensor variants,
                            Tensor inverse_frequencies, float factor) {
  const int32_t* position = positions.as<int32_t>();
  const int32_t* variant = variants.as<int32_t>();
  cpu::parallel_ranges(threads_, cos.rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* frequency = inverse_frequencies.row_range(variant[r], 1).as<float>();
      float* c = cos.row_range(r, 1).as<float>();
      float* s = sin.row_range(r, 1).as<float>();
      for (int64_t i = 0; i < cos.cols; ++i) {
        const float angle = static_cast<float>(position[r]) * frequency[i];
        c[i] = factor * std::cos(angle);
        s[i] = factor * std::sin(angle);
      }
    }
  });
}

void CpuOps::do_rope(Tensor x, Tensor cos, Tensor sin, int64_t head_dim, bool backward) {
  const auto kernel = elements(x.dtype).rope;
  const float sign = backward ? -1.0f : 1.0f;
  cpu::parallel_ranges(threads_, x.rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      kernel(x.row_range(r, 1).data, cos.row_range(r, 1).as<float>(),
             sin.row_range(r, 1).as<float>(), x.cols / head_dim, head_dim, cos.cols, sign);
  });
}

}  // namespace nibble
