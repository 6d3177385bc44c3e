// RMS norm of groups of weight.cols() columns (Zhang and Sennrich 2019).
#pragma once

#include "reference/matrix.h"

namespace nibble::reference {

template <typename T>
struct RmsNorm {
  Matrix<T> y;
  Matrix<T> rstd;  // [T, groups]
};

// y = x * rstd * weight; rstd = 1 / sqrt(mean(x^2) + epsilon)
template <typename T>
RmsNorm<T> rms_norm_forward(const Matrix<T>& x, const Matrix<T>& weight, double epsilon) {
  using std::sqrt;
  const int64_t n = weight.cols();
  const int64_t groups = x.cols() / n;
  RmsNorm<T> result{Matrix<T>(x.rows(), x.cols()), Matrix<T>(x.rows(), groups)};
  for (int64_t i = 0; i < x.rows(); ++i) {
    for (int64_t g = 0; g < groups; ++g) {
      T sum = T(0);
      for (int64_t j = g * n; j < (g + 1) * n; ++j) sum += x(i, j) * x(i, j);
      const T mean = sum / T(static_cast<double>(n));
      const T rstd = T(1) / sqrt(mean + T(epsilon));
      for (int64_t j = 0; j < n; ++j)
        result.y(i, g * n + j) = x(i, g * n + j) * rstd * weight(0, j);
      result.rstd(i, g) = rstd;
    }
  }
  return result;
}

// With s = sum_j dy_j weight_j x_j:  dx_j = rstd * (dy_j weight_j - x_j * rstd^2 * s / n)
template <typename T>
Matrix<T> rms_norm_backward(const Matrix<T>& dy, const Matrix<T>& x, const Matrix<T>& weight,
                            const Matrix<T>& rstd) {
  const int64_t n = weight.cols();
  Matrix<T> dx(x.rows(), x.cols());
  for (int64_t i = 0; i < x.rows(); ++i) {
    for (int64_t g = 0; g < rstd.cols(); ++g) {
      const T r = rstd(i, g);
      T sum = T(0);
      for (int64_t j = 0; j < n; ++j) sum += dy(i, g * n + j) * weight(0, j) * x(i, g * n + j);
      const T mean = sum / T(static_cast<double>(n));
      for (int64_t j = 0; j < n; ++j) {
        const T dnormed = dy(i, g * n + j) * weight(0, j);
        dx(i, g * n + j) = r * (dnormed - x(i, g * n + j) * r * r * mean);
      }
    }
  }
  return dx;
}

}  // namespace nibble::reference
