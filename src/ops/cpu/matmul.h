// Matrix products through oneDNN: c (+)= op(a) op(b) (+ bias), with primitives cached by shape.
//
// oneDNN takes its scratch from the caller's fixed workspace: an implementation that needs more is
// passed over, and if all do, the product is split over rows. So the plan of memory does not depend
// on what oneDNN chooses.
#pragma once

#include <cstddef>
#include <memory>

#include "core/tensor.h"

namespace nibble::cpu {

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
  explicit Matmul(int threads);
  ~Matmul();

  // c = a b + bias, or c += a b + bias. a: [m, k] and b: [k, n] of one dtype, c: [m, n] of that
  // dtype or f32; bias: [1, n] of c's dtype, or empty; workspace: u8, matmul_workspace_bytes.
  // Throws ErrorKind::usage if oneDNN cannot compute in the dtype on this processor.
  void run(Tensor c, bool accumulate, MatmulOperand a, MatmulOperand b, Tensor bias,
           Tensor workspace);

 private:
  struct Cache;
  int threads_;
  std::unique_ptr<Cache> cache_;
};

}  // namespace nibble::cpu
