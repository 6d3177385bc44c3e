// The scalar reference of every operation: one header each, named as in ops/ops.h, forward and
// backward beside each other. Templates over the number type T:
//   double                 the values to compare with
//   std::complex<double>   derivatives by complex step, which check the backward formulas
//   RunningError           the values together with a bound on what rounding may do to them
// This file: the matrix they all use, and what differs among the number types.
#pragma once

#include <cmath>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace nibble::reference {

template <typename T>
class Matrix {
 public:
  Matrix() = default;
  Matrix(int64_t rows, int64_t cols)
      : rows_(rows), cols_(cols), values_(static_cast<size_t>(rows * cols)) {}

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  bool empty() const { return values_.empty(); }
  T& operator()(int64_t i, int64_t j) { return values_[static_cast<size_t>(i * cols_ + j)]; }
  const T& operator()(int64_t i, int64_t j) const {
    return values_[static_cast<size_t>(i * cols_ + j)];
  }
  std::vector<T>& values() { return values_; }
  const std::vector<T>& values() const { return values_; }

 private:
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  std::vector<T> values_;
};

template <typename To, typename From>
Matrix<To> convert(const Matrix<From>& x) {
  Matrix<To> y(x.rows(), x.cols());
  for (size_t i = 0; i < x.values().size(); ++i) y.values()[i] = static_cast<To>(x.values()[i]);
  return y;
}

template <typename T>
Matrix<T> operator+(const Matrix<T>& a, const Matrix<T>& b) {
  Matrix<T> sum = a;
  for (size_t i = 0; i < sum.values().size(); ++i) sum.values()[i] += b.values()[i];
  return sum;
}

// What comparisons are made by: a maximum is not analytic, so it is taken of the real parts.
inline double real_part(double x) { return x; }
inline double real_part(float x) { return static_cast<double>(x); }
inline double real_part(const std::complex<double>& x) { return x.real(); }

template <typename T>
T sigmoid(const T& x) {
  using std::exp;
  return T(1) / (T(1) + exp(-x));
}

}  // namespace nibble::reference
