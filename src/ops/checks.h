// What the public faces of operations check (ops/ops.h): shapes, dtypes, density and overlap, once
// for all backends. A violation is a bug in Nibble, never bad input.
#pragma once

#include "core/ceil_div.h"
#include "core/error.h"
#include "ops/ops.h"

namespace nibble {

// One operation's checks; names appear in the message.
struct OperandCheck {
  const char* op;

  void shape(const char* name, Tensor x, int64_t rows, int64_t cols) const {
    if (!x || x.rows != rows || x.cols != cols)
      fail(ErrorKind::internal, "{}: {} is [{}, {}], expected [{}, {}]", op, name, x.rows, x.cols,
           rows, cols);
  }
  void dtype(const char* name, Tensor x, DType expected) const {
    if (x.dtype != expected)
      fail(ErrorKind::internal, "{}: {} is {}, expected {}", op, name, name_of(x.dtype),
           name_of(expected));
  }
  void dense(const char* name, Tensor x) const {
    if (!x.dense())
      fail(ErrorKind::internal, "{}: {} has stride {} for {} columns, expected dense", op, name,
           x.stride, x.cols);
  }
  void compute(const char* name, Tensor x) const {
    float_type(name, x);  // the CPU's kernels know no float16 and say so
  }
  void float_type(const char* name, Tensor x) const {
    if (x.dtype != DType::f32 && x.dtype != DType::bf16 && x.dtype != DType::f16)
      fail(ErrorKind::internal, "{}: {} is {}, expected float32, bfloat16 or float16", op, name,
           name_of(x.dtype));
  }
  void block_size(int size) const {
    if (size < 32 || size > 4096 || (size & (size - 1)) != 0)
      fail(ErrorKind::internal, "{}: block_size is {}, expected a power of two in [32, 4096]", op,
           size);
  }
  void require(bool ok, const char* what) const {
    if (!ok) fail(ErrorKind::internal, "{}: {}", op, what);
  }
  // Shape, dtype and density of a parameter-like operand at once.
  void matrix(const char* name, Tensor x, int64_t rows, int64_t cols, DType type) const {
    shape(name, x, rows, cols);
    dtype(name, x, type);
    dense(name, x);
  }
  // Of a copy between near and far memory.
  void far_copy(Tensor y, Tensor x, bool right_sides) const {
    shape("y", y, x.rows, x.cols);
    dtype("y", y, x.dtype);
    dense("y", y);
    dense("x", x);
    require(right_sides, "one of x and y lies on the wrong side of far memory");
  }
  void apart(const char* a_name, Tensor a, const char* b_name, Tensor b) const {
    if (!a || !b || a.size() == 0 || b.size() == 0) return;
    if (interleaved(a, b)) return;
    if (a.raw() < end(b) && b.raw() < end(a))
      fail(ErrorKind::internal, "{}: {} overlaps {}", op, a_name, b_name);
  }
  void same_or_apart(const char* a_name, Tensor a, const char* b_name, Tensor b) const {
    if (a.data == b.data && a.stride == b.stride && a.cols == b.cols) return;
    apart(a_name, a, b_name, b);
  }

 private:
  static std::byte* end(Tensor x) {
    return x.raw() + ((x.rows - 1) * x.stride + x.cols) * static_cast<int64_t>(size_of(x.dtype));
  }
  // Disjoint column ranges of one wider matrix.
  static bool interleaved(Tensor a, Tensor b) {
    if (a.stride != b.stride || a.dtype != b.dtype || a.dense() || b.dense()) return false;
    const int64_t row_bytes = a.stride * static_cast<int64_t>(size_of(a.dtype));
    const int64_t distance = b.raw() - a.raw();
    const int64_t column =
        (distance % row_bytes + row_bytes) % row_bytes / static_cast<int64_t>(size_of(a.dtype));
    return column >= a.cols && column + b.cols <= a.stride;
  }
};

}  // namespace nibble
