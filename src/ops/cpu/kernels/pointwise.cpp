// Kernels that treat elements alone or in pairs: rotary embedding, gated activation, dropout,
// conversions, sums.
#include "ops/cpu/kernels/declarations.h"
#include "ops/cpu/kernels/vec.h"

namespace nibble::cpu::NIBBLE_ISA {
namespace {

// Philox4x32-10 as in core/rng.h, for counters first, first + 1, ... : 4 * lanes words in order.
inline void multiply_words(U a, uint32_t b, U& high, U& low) {
  for (int i = 0; i < lanes; ++i) {
    const uint64_t product = uint64_t{a[i]} * b;
    high[i] = uint32_t(product >> 32);
    low[i] = uint32_t(product);
  }
}

inline void philox_words(uint64_t key, uint64_t first, uint64_t step, uint32_t* words) {
  U c0, c1;
  for (int i = 0; i < lanes; ++i) {
    c0[i] = uint32_t(first + uint64_t(i));
    c1[i] = uint32_t((first + uint64_t(i)) >> 32);
  }
  U c2 = U{} + uint32_t(step), c3 = U{} + uint32_t(step >> 32);
  uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
  for (int round = 0; round < 10; ++round) {
    U high0, low0, high1, low1;
    multiply_words(c0, 0xD2511F53u, high0, low0);
    multiply_words(c2, 0xCD9E8D57u, high1, low1);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (int i = 0; i < lanes; ++i) {
    words[4 * i] = c0[i];
    words[4 * i + 1] = c1[i];
    words[4 * i + 2] = c2[i];
    words[4 * i + 3] = c3[i];
  }
}

inline F sigmoid(F x) { return 1.0f / (1.0f + exp(-x)); }

template <typename Y, typename X>
void convert_as(void* y_, const void* x_, int64_t n) {
  Y* y = static_cast<Y*>(y_);
  const X* x = static_cast<const X*>(x_);
  for_lanes(n, [&](int64_t i, int64_t part) { store_n(y + i, load_n(x + i, part), part); });
}

template <typename Y>
void convert_from(void* y, const void* x, Element x_type, int64_t n) {
  switch (x_type) {
    case Element::f32:
      return convert_as<Y, float>(y, x, n);
    case Element::f16:
      return convert_as<Y, F16>(y, x, n);
    case Element::bf16:
      return convert_as<Y, Bf16>(y, x, n);
  }
}

}  // namespace

void convert(void* y, Element y_type, const void* x, Element x_type, int64_t n) {
  switch (y_type) {
    case Element::f32:
      return convert_from<float>(y, x, x_type, n);
    case Element::f16:
      return convert_from<F16>(y, x, x_type, n);
    case Element::bf16:
      return convert_from<Bf16>(y, x, x_type, n);
  }
}

template <typename T>
void Rows<T>::rope(void* x_, const float* cos, const float* sin, int64_t heads, int64_t head_dim,
                   int64_t half, float sign) {
  for (int64_t head = 0; head < heads; ++head) {
    T* first = static_cast<T*>(x_) + head * head_dim;
    T* second = first + half;
    for_lanes(half, [&](int64_t i, int64_t part) {
      const F a = load_n(first + i, part), b = load_n(second + i, part);
      const F c = load_n(cos + i, part), s = load_n(sin + i, part) * sign;
      store_n(first + i, a * c - b * s, part);
      store_n(second + i, b * c + a * s, part);
    });
  }
}

template <typename T>
void Rows<T>::gated_silu_forward(void* y, const void* gate, const void* up, int64_t n) {
  for_lanes(n, [&](int64_t i, int64_t part) {
    const F g = load_n(static_cast<const T*>(gate) + i, part);
    const F u = load_n(static_cast<const T*>(up) + i, part);
    store_n(static_cast<T*>(y) + i, g * sigmoid(g) * u, part);
  });
}

// silu'(g) = s (1 + g (1 - s)), s = sigmoid(g).
template <typename T>
void Rows<T>::gated_silu_backward(void* dgate, void* dup, const void* dy, const void* gate,
                                  const void* up, int64_t n) {
  for_lanes(n, [&](int64_t i, int64_t part) {
    const F g = load_n(static_cast<const T*>(gate) + i, part);
    const F u = load_n(static_cast<const T*>(up) + i, part);
    const F d = load_n(static_cast<const T*>(dy) + i, part);
    const F s = sigmoid(g);
    store_n(static_cast<T*>(dgate) + i, d * u * s * (1.0f + g * (1.0f - s)), part);
    store_n(static_cast<T*>(dup) + i, d * g * s, part);
  });
}

template <typename T>
void Rows<T>::dropout(void* y_, bool accumulate, const void* x_, int64_t first, int64_t n,
                      const DropoutStream& stream) {
  T* y = static_cast<T*>(y_);
  const T* x = static_cast<const T*>(x_);
  alignas(64) uint32_t words[4 * lanes];
  for (int64_t base = 0; base < n; base += 4 * lanes) {
    philox_words(stream.key, uint64_t(first + base) / 4, stream.step, words);
    const int64_t count = n - base < 4 * lanes ? n - base : 4 * lanes;
    for_lanes(count, [&](int64_t i, int64_t part) {
      U word;
      __builtin_memcpy(&word, words + i, sizeof word);
      const F uniform = __builtin_convertvector((I)(word >> 8), F) * 0x1p-24f;
      const F scaled = load_n(x + base + i, part) * stream.scale;
      F value = uniform >= stream.probability ? scaled : F{};
      if (accumulate) value += load_n(y + base + i, part);
      store_n(y + base + i, value, part);
    });
  }
}

template <typename T>
void Rows<T>::scale_from_f32(void* y, const float* x, int64_t n, float scale) {
  for_lanes(n, [&](int64_t i, int64_t part) {
    store_n(static_cast<T*>(y) + i, load_n(x + i, part) * scale, part);
  });
}

template <typename T>
float Rows<T>::dot(const void* x, const void* y, int64_t n) {
  F products{};
  for_lanes(n, [&](int64_t i, int64_t part) {
    products = multiply_add(load_n(static_cast<const T*>(x) + i, part),
                            load_n(static_cast<const T*>(y) + i, part), products);
  });
  return sum(products);
}

void add_scaled(float* y, const float* x, int64_t n, float scale) {
  for_lanes(n, [&](int64_t i, int64_t part) {
    store_n(y + i, multiply_add(load_n(x + i, part), splat(scale), load_n(y + i, part)), part);
  });
}

template struct Rows<float>;
template struct Rows<Bf16>;

}  // namespace nibble::cpu::NIBBLE_ISA
