// Head and loss: the sum over labelled rows of -log softmax(x head^T)[label].
#pragma once

#include <algorithm>
#include <limits>
#include <span>

#include "reference/lora_linear.h"
#include "reference/matrix.h"

namespace nibble::reference {

template <typename T>
struct LinearCrossEntropy {
  T loss = T(0);
  Matrix<T> dx;  // gradient * d loss / dx
};

// With p = softmax(logits): loss = sum (lse - logits[label]),  dx = gradient * (p - onehot) head
template <typename T>
LinearCrossEntropy<T> linear_cross_entropy(const Matrix<T>& x, const Matrix<T>& head,
                                           std::span<const int32_t> labels, double gradient) {
  using std::exp, std::log;
  const Matrix<T> logits = product_nt(x, head);
  LinearCrossEntropy<T> result;
  Matrix<T> dlogits(logits.rows(), logits.cols());
  for (int64_t i = 0; i < x.rows(); ++i) {
    const int32_t label = labels[static_cast<size_t>(i)];
    if (label < 0) continue;
    double max = -std::numeric_limits<double>::infinity();
    for (int64_t j = 0; j < logits.cols(); ++j) max = std::max(max, real_part(logits(i, j)));
    T sum = T(0);
    for (int64_t j = 0; j < logits.cols(); ++j) sum += exp(logits(i, j) - T(max));
    const T lse = T(max) + log(sum);
    result.loss += lse - logits(i, label);
    for (int64_t j = 0; j < logits.cols(); ++j) {
      const T onehot = T(j == label ? 1 : 0);
      dlogits(i, j) = T(gradient) * (exp(logits(i, j) - lse) - onehot);
    }
  }
  result.dx = product_nn(dlogits, head);
  return result;
}

}  // namespace nibble::reference
