// The linear layer of QLoRA: a frozen weight and a low-rank adapter (Hu et al. 2021, section 4.1).
#pragma once

#include "reference/matrix.h"

namespace nibble::reference {

template <typename T>
struct LoraLinear {
  Matrix<T> w;     // [out, in]
  Matrix<T> bias;  // [1, out], or empty
  Matrix<T> a;     // [r, in], or empty: no adapter
  Matrix<T> b;     // [out, r]
  T scaling = T(0);
  Matrix<T> mask;  // [tokens, in] of 0 and 1 / (1 - dropout), or empty: no dropout

  // dropout(x); also the backward of dropout, which is the same product.
  Matrix<T> dropped(Matrix<T> x) const {
    for (size_t i = 0; i < mask.values().size(); ++i) x.values()[i] *= mask.values()[i];
    return x;
  }
};

// x y^T
template <typename T>
Matrix<T> product_nt(const Matrix<T>& x, const Matrix<T>& y) {
  Matrix<T> z(x.rows(), y.rows());
  for (int64_t i = 0; i < x.rows(); ++i)
    for (int64_t j = 0; j < y.rows(); ++j)
      for (int64_t k = 0; k < x.cols(); ++k) z(i, j) += x(i, k) * y(j, k);
  return z;
}

// x y
template <typename T>
Matrix<T> product_nn(const Matrix<T>& x, const Matrix<T>& y) {
  Matrix<T> z(x.rows(), y.cols());
  for (int64_t i = 0; i < x.rows(); ++i)
    for (int64_t k = 0; k < x.cols(); ++k)
      for (int64_t j = 0; j < y.cols(); ++j) z(i, j) += x(i, k) * y(k, j);
  return z;
}

// x^T y
template <typename T>
Matrix<T> product_tn(const Matrix<T>& x, const Matrix<T>& y) {
  Matrix<T> z(x.cols(), y.cols());
  for (int64_t k = 0; k < x.rows(); ++k)
    for (int64_t i = 0; i < x.cols(); ++i)
      for (int64_t j = 0; j < y.cols(); ++j) z(i, j) += x(k, i) * y(k, j);
  return z;
}

template <typename T>
Matrix<T> scaled(Matrix<T> x, const T& factor) {
  for (T& value : x.values()) value *= factor;
  return x;
}

template <typename T>
struct LoraLinearOutput {
  Matrix<T> y;
  Matrix<T> t;  // [tokens, r], empty without adapter
};

// y = x w^T + bias + scaling * t b^T,  t = dropout(x) a^T
template <typename T>
LoraLinearOutput<T> lora_linear_forward(const Matrix<T>& x, const LoraLinear<T>& layer) {
  LoraLinearOutput<T> result{product_nt(x, layer.w), {}};
  if (!layer.bias.empty())
    for (int64_t i = 0; i < x.rows(); ++i)
      for (int64_t j = 0; j < result.y.cols(); ++j) result.y(i, j) += layer.bias(0, j);
  if (!layer.a.empty()) {
    result.t = product_nt(layer.dropped(x), layer.a);
    result.y = result.y + product_nt(scaled(result.t, layer.scaling), layer.b);
  }
  return result;
}

template <typename T>
struct LoraLinearGradient {
  Matrix<T> dx, da, db;
};

// With u = scaling * dy b:
//   dx = dy w + dropout'(u a),  da = u^T dropout(x),  db = scaling * dy^T t
template <typename T>
LoraLinearGradient<T> lora_linear_backward(const Matrix<T>& dy, const Matrix<T>& x,
                                           const Matrix<T>& t, const LoraLinear<T>& layer) {
  LoraLinearGradient<T> gradient{product_nn(dy, layer.w), {}, {}};
  if (!layer.a.empty()) {
    const Matrix<T> u = scaled(product_nn(dy, layer.b), layer.scaling);
    gradient.dx = gradient.dx + layer.dropped(product_nn(u, layer.a));
    gradient.da = product_tn(u, layer.dropped(x));
    gradient.db = scaled(product_tn(dy, t), layer.scaling);
  }
  return gradient;
}

}  // namespace nibble::reference
