// AdamW with decoupled weight decay (Loshchilov and Hutter 2019), as torch.optim.AdamW computes it,
// and its variant with 8-bit moments, as bitsandbytes' CUDA kernel does (docs/numerics.md).
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "ops/ops.h"
#include "quant/dynamic_map.h"
#include "reference/matrix.h"

namespace nibble::reference {

template <typename T>
struct AdamWState {
  Matrix<T> p, m, v;  // [1, n]
};

// m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2
// p = (1 - lr wd) p - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
template <typename T>
AdamWState<T> adamw(AdamWState<T> state, const Matrix<T>& gradient, const AdamWOptions& options) {
  using std::sqrt;
  const double lr = options.learning_rate;
  const double beta1 = options.beta1;
  const double beta2 = options.beta2;
  const auto step = static_cast<double>(options.step);
  const T step_size(lr / (1 - std::pow(beta1, step)));
  const T correction(std::sqrt(1 - std::pow(beta2, step)));
  const T decay(1 - lr * options.weight_decay);
  for (int64_t i = 0; i < state.p.cols(); ++i) {
    T &p = state.p(0, i), &m = state.m(0, i), &v = state.v(0, i);
    const T g = gradient(0, i) * T(static_cast<double>(options.gradient_scale));
    m = T(beta1) * m + T(1 - beta1) * g;
    v = T(beta2) * v + T(1 - beta2) * g * g;
    const T denominator = sqrt(v) / correction + T(options.epsilon);
    p = p * decay - step_size * m / denominator;
  }
  return state;
}

// The same with m and v as map values times the absmax of their block of 256. Returns the moments
// before they are quantized again. The betas are floats, as the kernel takes them. With c1 = 1 -
// beta1^t, c2 = sqrt(1 - beta2^t):
//   p = (p - lr c2 / c1 * m / (sqrt(v) + c2 epsilon)) * (1 - lr wd)
// An element whose gradient is not finite keeps p, and its moments become zero.
template <typename T>
AdamWState<T> adamw_8bit(Matrix<T> p, const Matrix<T>& gradient, std::span<const uint8_t> m_codes,
                         std::span<const uint8_t> v_codes, std::span<const float> m_absmax,
                         std::span<const float> v_absmax, const AdamWOptions& options) {
  using std::sqrt;
  const double lr = options.learning_rate;
  const auto beta1 = static_cast<double>(static_cast<float>(options.beta1));
  const auto beta2 = static_cast<double>(static_cast<float>(options.beta2));
  const auto step = static_cast<double>(options.step);
  const double c1 = 1 - std::pow(beta1, step);
  const double c2 = std::sqrt(1 - std::pow(beta2, step));
  const T step_size(lr * c2 / c1);
  const T decay(1 - lr * options.weight_decay);
  AdamWState<T> state{std::move(p), Matrix<T>(1, gradient.cols()), Matrix<T>(1, gradient.cols())};
  for (int64_t i = 0; i < gradient.cols(); ++i) {
    if (!std::isfinite(real_part(gradient(0, i)))) continue;
    const auto index = static_cast<size_t>(i);
    const T g = gradient(0, i) * T(static_cast<double>(options.gradient_scale));
    const T old_m = T(static_cast<double>(dynamic_map_signed()[m_codes[index]])) *
                    T(static_cast<double>(m_absmax[index / 256]));
    const T old_v = T(static_cast<double>(dynamic_map_unsigned()[v_codes[index]])) *
                    T(static_cast<double>(v_absmax[index / 256]));
    T &m = state.m(0, i), &v = state.v(0, i);
    m = T(beta1) * old_m + T(1 - beta1) * g;
    v = T(beta2) * old_v + T(1 - beta2) * g * g;
    const T epsilon(c2 * options.epsilon);
    state.p(0, i) = (state.p(0, i) - step_size * m / (sqrt(v) + epsilon)) * decay;
  }
  return state;
}

}  // namespace nibble::reference
