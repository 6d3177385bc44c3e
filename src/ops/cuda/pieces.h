// Hands out a caller's workspace piece by piece, at multiples of 256 bytes as the arena does. A
// copy hands out what its original has left; so what a call takes from a copy is free after it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/error.h"
#include "ops/cuda/kernels/kernels.h"

namespace nibble::cuda {

class Pieces {
 public:
  Pieces(void* workspace, int64_t bytes)
      : begin_(static_cast<std::byte*>(workspace)), bytes_(bytes) {}

  void* take(int64_t bytes) {
    void* piece = begin_ + used_;
    used_ += (bytes + 255) / 256 * 256;
    if (used_ > bytes_)
      fail(ErrorKind::internal,
           "cuDNN attention: got a workspace of {} bytes, expected {} or more; "
           "ops/cuda/attention_scratch.cpp reserves too little for this version of cuDNN",
           bytes_, used_);
    return piece;
  }
  Matrix matrix(int64_t rows, int64_t cols, DType dtype) {
    return {take(rows * cols * static_cast<int64_t>(size_of(dtype))), rows, cols, cols, dtype};
  }

 private:
  std::byte* begin_;
  int64_t bytes_;
  int64_t used_ = 0;
};

}  // namespace nibble::cuda
