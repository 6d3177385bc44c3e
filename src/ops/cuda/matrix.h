// Tensors as the kernels take them.
#pragma once

#include "core/tensor.h"
#include "ops/cuda/kernels/kernels.h"

namespace nibble::cuda {

inline Matrix matrix(Tensor x) { return {x.data, x.rows, x.cols, x.stride, x.dtype}; }

}  // namespace nibble::cuda
