// Tensors as the kernels take them.
#pragma once

#include "core/tensor.h"
#include "ops/cuda/kernels/kernels.h"

namespace nibble::cuda {

inline Matrix matrix(Tensor x) { return {x.data, x.rows, x.cols, x.stride, x.dtype}; }

inline Matrix columns_of(const Matrix& x, int64_t begin, int64_t count) {
  return {static_cast<std::byte*>(x.data) + begin * static_cast<int64_t>(size_of(x.dtype)), x.rows,
          count, x.stride, x.dtype};
}
inline Matrix rows_of(const Matrix& x, int64_t begin, int64_t count) {
  return {
      static_cast<std::byte*>(x.data) + begin * x.stride * static_cast<int64_t>(size_of(x.dtype)),
      count, x.cols, x.stride, x.dtype};
}

}  // namespace nibble::cuda
