// Tensor: a view of a matrix in somebody else's memory. Trivially copyable; never owns.
//
// Everything a decoder computes is a matrix of tokens x features, so a tensor has two dimensions
// and a row stride (in elements): a column range of a fused projection is a tensor like any other.
// A vector is a matrix of one row.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "core/error.h"

namespace nibble {

struct Tensor {
  void* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // elements from one row to the next, >= cols
  DType dtype = DType::f32;

  explicit operator bool() const { return data != nullptr; }
  int64_t size() const { return rows * cols; }
  bool dense() const { return stride == cols || rows <= 1; }
  int64_t bytes() const { return size() * static_cast<int64_t>(size_of(dtype)); }

  // Typed access; a wrong type is a bug and throws.
  template <typename T>
  T* as() const {
    if (dtype != dtype_of<T>())
      fail(ErrorKind::internal, "tensor read as {}, but it holds {}", name_of(dtype_of<T>()),
           name_of(dtype));
    return static_cast<T*>(data);
  }
  std::byte* raw() const { return static_cast<std::byte*>(data); }

  Tensor columns(int64_t begin, int64_t count) const {
    return {raw() + begin * static_cast<int64_t>(size_of(dtype)), rows, count, stride, dtype};
  }
  Tensor row_range(int64_t begin, int64_t count) const {
    return {raw() + begin * stride * static_cast<int64_t>(size_of(dtype)), count, cols, stride,
            dtype};
  }
  // The same elements of a dense tensor in another shape of equal size.
  Tensor reshaped(int64_t new_rows, int64_t new_cols) const {
    return {data, new_rows, new_cols, new_cols, dtype};
  }
};

inline Tensor dense_tensor(void* data, int64_t rows, int64_t cols, DType dtype) {
  return {data, rows, cols, cols, dtype};
}

}  // namespace nibble
