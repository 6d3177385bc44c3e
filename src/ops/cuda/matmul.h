// Matrix products through cuBLASLt: d = alpha * op(a) op(b) + beta * c (+ bias).
//
// The algorithm is the first that cuBLASLt's heuristic names for the shapes and the workspace: it
// is the same in every run, so results have the same bits. Nothing is allocated: descriptors and
// algorithms are cached by shape, and the workspace is the caller's.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "core/tensor.h"

namespace nibble::cuda {

struct MatmulOperand {
  Tensor tensor;
  bool transposed = false;
  int64_t rows() const { return transposed ? tensor.cols : tensor.rows; }
  int64_t cols() const { return transposed ? tensor.rows : tensor.cols; }
};
inline MatmulOperand plain(Tensor x) { return {x, false}; }
inline MatmulOperand transposed(Tensor x) { return {x, true}; }

class Matmul {
 public:
  explicit Matmul(cudaStream_t stream);
  ~Matmul();

  // d = a b, or d = c + a b; c has d's shape and dtype and may be d. a: [m, k], b: [k, n] of one
  // dtype; d: [m, n] of that dtype or f32; bias: [1, n] of d's dtype, or empty; workspace: u8.
  void run(Tensor d, Tensor c, MatmulOperand a, MatmulOperand b, Tensor bias, Tensor workspace);

 private:
  struct Cache;
  std::unique_ptr<Cache> cache_;
};

}  // namespace nibble::cuda
