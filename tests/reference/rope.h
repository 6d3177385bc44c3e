// Rotary position embedding (Su et al. 2021), with the pairs (i, i + rotary_dim / 2) of the Hugging
// Face models.
#pragma once

#include <span>

#include "reference/matrix.h"

namespace nibble::reference {

template <typename T>
struct RopeTables {
  Matrix<T> cos, sin;  // [T, rotary_dim / 2]
};

template <typename T>
RopeTables<T> rope_tables(std::span<const int32_t> positions, std::span<const int32_t> variants,
                          const Matrix<T>& inverse_frequencies, double factor) {
  using std::cos, std::sin;
  const auto tokens = static_cast<int64_t>(positions.size());
  const int64_t half = inverse_frequencies.cols();
  RopeTables<T> tables{Matrix<T>(tokens, half), Matrix<T>(tokens, half)};
  for (int64_t t = 0; t < tokens; ++t) {
    const auto index = static_cast<size_t>(t);
    for (int64_t i = 0; i < half; ++i) {
      const T angle = T(positions[index]) * inverse_frequencies(variants[index], i);
      tables.cos(t, i) = T(factor) * cos(angle);
      tables.sin(t, i) = T(factor) * sin(angle);
    }
  }
  return tables;
}

// Turns each pair by its angle: (a, b) -> (a cos - b sin, b cos + a sin).
template <typename T>
Matrix<T> rope_forward(Matrix<T> x, const Matrix<T>& cos, const Matrix<T>& sin, int64_t head_dim) {
  const int64_t half = cos.cols();
  for (int64_t t = 0; t < x.rows(); ++t) {
    for (int64_t head = 0; head < x.cols(); head += head_dim) {
      for (int64_t i = 0; i < half; ++i) {
        const T a = x(t, head + i);
        const T b = x(t, head + half + i);
        x(t, head + i) = a * cos(t, i) - b * sin(t, i);
        x(t, head + half + i) = b * cos(t, i) + a * sin(t, i);
      }
    }
  }
  return x;
}

// The transpose of the above: the rotation by the opposite angle.
template <typename T>
Matrix<T> rope_backward(const Matrix<T>& dy, const Matrix<T>& cos, Matrix<T> sin,
                        int64_t head_dim) {
  for (T& value : sin.values()) value = -value;
  return rope_forward(dy, cos, sin, head_dim);
}

}  // namespace nibble::reference
