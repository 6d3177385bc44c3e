// The gated activation y = silu(gate) * up (Shazeer 2020), silu(x) = x * sigmoid(x).
#pragma once

#include "reference/matrix.h"

namespace nibble::reference {

template <typename T>
Matrix<T> gated_silu_forward(const Matrix<T>& gate, const Matrix<T>& up) {
  Matrix<T> y(gate.rows(), gate.cols());
  for (size_t i = 0; i < y.values().size(); ++i) {
    const T g = gate.values()[i];
    y.values()[i] = g * sigmoid(g) * up.values()[i];
  }
  return y;
}

template <typename T>
struct GatedSiluGradient {
  Matrix<T> dgate, dup;
};

// dup = dy * silu(g);  dgate = dy * up * silu'(g),  silu'(g) = s + g * s * (1 - s),  s = sigmoid(g)
template <typename T>
GatedSiluGradient<T> gated_silu_backward(const Matrix<T>& dy, const Matrix<T>& gate,
                                         const Matrix<T>& up) {
  GatedSiluGradient<T> gradient{Matrix<T>(gate.rows(), gate.cols()),
                                Matrix<T>(gate.rows(), gate.cols())};
  for (size_t i = 0; i < dy.values().size(); ++i) {
    const T g = gate.values()[i];
    const T s = sigmoid(g);
    gradient.dup.values()[i] = dy.values()[i] * g * s;
    gradient.dgate.values()[i] = dy.values()[i] * up.values()[i] * (s + g * s * (T(1) - s));
  }
  return gradient;
}

}  // namespace nibble::reference
