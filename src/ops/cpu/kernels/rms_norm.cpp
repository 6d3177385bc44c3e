// RMS norm of one group of columns; y = x * rstd * weight (Zhang & Sennrich 2019).
#include "ops/cpu/kernels/declarations.h"
#include "ops/cpu/kernels/vec.h"

namespace nibble::cpu::NIBBLE_ISA {

template <typename T>
void Rows<T>::rms_norm_forward(void* y_, float* rstd_, const void* x_, const float* weight,
                               int64_t n, float epsilon) {
  T* y = static_cast<T*>(y_);
  const T* x = static_cast<const T*>(x_);
  F squares{};
  for_lanes(n, [&](int64_t i, int64_t part) {
    const F v = load_n(x + i, part);
    squares = multiply_add(v, v, squares);
  });
  const float rstd = 1.0f / __builtin_sqrtf(sum(squares) / float(n) + epsilon);
  *rstd_ = rstd;
  for_lanes(n, [&](int64_t i, int64_t part) {
    store_n(y + i, load_n(x + i, part) * rstd * load_n(weight + i, part), part);
  });
}

// With n columns, h = x * rstd and g = dy * weight:  dx = rstd * (g - h * mean(g * h)).
template <typename T>
void Rows<T>::rms_norm_backward(void* dx_, bool accumulate, const void* dy_, const void* x_,
                                const float* weight, float rstd, int64_t n) {
  T* dx = static_cast<T*>(dx_);
  const T* dy = static_cast<const T*>(dy_);
  const T* x = static_cast<const T*>(x_);
  F products{};
  for_lanes(n, [&](int64_t i, int64_t part) {
    products = multiply_add(load_n(dy + i, part) * load_n(weight + i, part),
                            load_n(x + i, part) * rstd, products);
  });
  const float mean = sum(products) / float(n);
  for_lanes(n, [&](int64_t i, int64_t part) {
    const F g = load_n(dy + i, part) * load_n(weight + i, part);
    const F h = load_n(x + i, part) * rstd;
    F value = (g - h * mean) * rstd;
    if (accumulate) value += load_n(dx + i, part);
    store_n(dx + i, value, part);
  });
}

template struct Rows<float>;
template struct Rows<Bf16>;

}  // namespace nibble::cpu::NIBBLE_ISA
