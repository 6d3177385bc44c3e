// A register of floats, as wide as the instruction set has them, in GCC's vector extensions; what
// those do badly has intrinsics. Sums are lane by lane, and so of one fixed order per set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/cpu/kernels/kernels.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace nibble::cpu::NIBBLE_ISA {
namespace {

template <int...>
struct Indices {};
#if defined(__AVX512F__)
inline constexpr int64_t lanes = 16;
using LaneIndices = Indices<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15>;
#elif defined(__AVX2__)
inline constexpr int64_t lanes = 8;
using LaneIndices = Indices<0, 1, 2, 3, 4, 5, 6, 7>;
#else
inline constexpr int64_t lanes = 4;
using LaneIndices = Indices<0, 1, 2, 3>;
#endif

typedef float F __attribute__((vector_size(4 * lanes)));
typedef int32_t I __attribute__((vector_size(4 * lanes)));
typedef uint32_t U __attribute__((vector_size(4 * lanes)));
typedef uint16_t H __attribute__((vector_size(2 * lanes)));

// Not F{} + x: that sum is computed, since x may be -0.
inline F splat(float x) {
#if defined(__AVX512F__)
  return (F)_mm512_set1_ps(x);
#elif defined(__AVX2__)
  return (F)_mm256_set1_ps(x);
#else
  return F{x, x, x, x};
#endif
}

// If either is NaN, b.
inline F max(F a, F b) { return a > b ? a : b; }
inline F min(F a, F b) { return a < b ? a : b; }
inline F abs(F a) { return (F)((U)a & 0x7fffffffu); }

// a * b + c, in one rounding where the machine can.
inline F multiply_add(F a, F b, F c) {
#if defined(__AVX512F__)
  return (F)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
  return (F)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

inline F sqrt(F a) {
#if defined(__AVX512F__)
  return (F)_mm512_sqrt_ps((__m512)a);
#elif defined(__AVX2__)
  return (F)_mm256_sqrt_ps((__m256)a);
#else
  for (int i = 0; i < lanes; ++i) a[i] = __builtin_sqrtf(a[i]);
  return a;
#endif
}

inline U widen(H h) {
#if defined(__AVX512F__)
  return (U)_mm512_cvtepu16_epi32((__m256i)h);
#elif defined(__AVX2__)
  return (U)_mm256_cvtepu16_epi32((__m128i)h);
#else
  return __builtin_convertvector(h, U);
#endif
}

inline H narrow(U u) {
#if defined(__AVX512F__)
  return (H)_mm512_cvtepi32_epi16((__m512i)u);
#elif defined(__AVX2__)
  const __m256i packed = _mm256_packus_epi32((__m256i)u, (__m256i)u);
  return (H)_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
#else
  return __builtin_convertvector(u, H);
#endif
}

inline H bf16_bits(F x) {
  const U u = (U)x;
  const U rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const U quiet_nan = (u >> 16) | 0x40u;
  return narrow((u & 0x7fffffffu) > 0x7f800000u ? quiet_nan : rounded);
}

// Scalar half precision, for machines without F16C.
inline float f16_to_float(uint16_t h) {
  const uint32_t sign = uint32_t(h & 0x8000u) << 16;
  const uint32_t magnitude = h & 0x7fffu;
  float value = 0;
  if (magnitude >= 0x7c00u) {
    const uint32_t bits =
        0x7f800000u | (magnitude & 0x3ffu) << 13 | ((magnitude & 0x3ffu) ? 0x400000u : 0u);
    __builtin_memcpy(&value, &bits, 4);
  } else {
    const uint32_t bits = magnitude << 13;
    __builtin_memcpy(&value, &bits, 4);
    value *= 0x1p112f;
  }
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  bits |= sign;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

inline uint16_t float_to_f16(float x) {
  uint32_t u;
  __builtin_memcpy(&u, &x, 4);
  const uint32_t sign = u >> 16 & 0x8000u;
  u &= 0x7fffffffu;
  if (u > 0x7f800000u) return uint16_t(sign | 0x7e00u | (u >> 13 & 0x3ffu));
  if (u >= 0x477ff000u) return uint16_t(sign | 0x7c00u);  // 65520 and above round to infinity
  if (u < 0x38800000u) {  // subnormal: let the addition round at 2^-24
    float y;
    __builtin_memcpy(&y, &u, 4);
    y += 0.5f;
    __builtin_memcpy(&u, &y, 4);
    return uint16_t(sign | (u - 0x3f000000u));
  }
  return uint16_t(sign | ((u - 0x38000000u + 0xfffu + (u >> 13 & 1u)) >> 13));
}

inline F load(const float* p) {
  F v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
inline F load(const Bf16* p) {
  H h;
  __builtin_memcpy(&h, p, sizeof h);
  return (F)(widen(h) << 16);
}
inline F load(const F16* p) {
  F v;
#if defined(__AVX512F__)
  v = (F)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
#elif defined(__AVX2__)
  v = (F)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
#else
  for (int i = 0; i < lanes; ++i) v[i] = f16_to_float(p[i].bits);
#endif
  return v;
}

inline void store(float* p, F v) { __builtin_memcpy(p, &v, sizeof v); }
inline void store(Bf16* p, F v) {
  const H h = bf16_bits(v);
  __builtin_memcpy(p, &h, sizeof h);
}
inline void store(F16* p, F v) {
#if defined(__AVX512F__)
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__AVX2__)
  _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
#else
  for (int i = 0; i < lanes; ++i) p[i].bits = float_to_f16(v[i]);
#endif
}

// The first n < lanes elements; the other lanes are zero.
template <typename T>
inline F load_part(const T* p, int64_t n) {
  T whole[lanes] = {};
  __builtin_memcpy(whole, p, size_t(n) * sizeof(T));
  return load(whole);
}
template <typename T>
inline void store_part(T* p, F v, int64_t n) {
  T whole[lanes];
  store(whole, v);
  __builtin_memcpy(p, whole, size_t(n) * sizeof(T));
}

// What a value becomes when stored as T.
inline F rounded(F x, Element type) {
  switch (type) {
    case Element::f32:
      return x;
    case Element::bf16:
      return (F)(widen(bf16_bits(x)) << 16);
    case Element::f16: {
      F16 whole[lanes];
      store(whole, x);
      return load(whole);
    }
  }
  return x;
}

// Calls body(i, n) for i = 0, lanes, ...: n is `lanes` but for the last.
template <typename Body>
inline __attribute__((always_inline)) void for_lanes(int64_t count, Body body) {
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) body(i, lanes);
  if (i < count) body(i, count - i);
}
template <typename T>
inline __attribute__((always_inline)) F load_n(const T* p, int64_t n) {
  return n == lanes ? load(p) : load_part(p, n);
}
template <typename T>
inline __attribute__((always_inline)) void store_n(T* p, F v, int64_t n) {
  if (n == lanes)
    store(p, v);
  else
    store_part(p, v, n);
}

inline float sum(F v) {
  float a[lanes];
  store(a, v);
  for (int step = lanes / 2; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) a[i] += a[i + step];
  return a[0];
}
inline float maximum(F v) {
  float a[lanes];
  store(a, v);
  for (int step = lanes / 2; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) a[i] = a[i] > a[i + step] ? a[i] : a[i + step];
  return a[0];
}

// e^x within 2 ulp; infinity above 88.72; below -87.33, where the result is subnormal, it may be 0.
// x = n ln 2 + r with |r| <= ln 2 / 2 (Cody and Waite's two-part ln 2), and Taylor's polynomial.
inline F exp(F x) {
  const F bounded = min(splat(89.0f), max(splat(-104.0f), x));  // NaN passes through both
#if defined(__AVX512F__)
  const F n = (F)_mm512_roundscale_ps((__m512)(bounded * 1.44269504f), _MM_FROUND_TO_NEAREST_INT);
#else
  const F magic = splat(0x1.8p23f);  // adding it rounds to an integer in the low bits
  const F shifted = multiply_add(bounded, splat(1.44269504f), magic);
  const F n = shifted - magic;
#endif
  F r = multiply_add(n, splat(-0.693359375f), bounded);
  r = multiply_add(n, splat(2.12194440e-4f), r);
  F p = splat(1.0f / 5040);
  p = multiply_add(p, r, splat(1.0f / 720));
  p = multiply_add(p, r, splat(1.0f / 120));
  p = multiply_add(p, r, splat(1.0f / 24));
  p = multiply_add(p, r, splat(1.0f / 6));
  p = multiply_add(p, r, splat(0.5f));
  p = multiply_add(p, r, splat(1.0f));
  p = multiply_add(p, r, splat(1.0f));
#if defined(__AVX512F__)
  return (F)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  // 2^n in two factors: n = 128 has no exponent of its own, and so has n below -126.
  const I exponent = (I)shifted - (I)magic;
  const I half = exponent >> 1;
  const F value = p * (F)((half + 127) << 23) * (F)((exponent - half + 127) << 23);
  return x > 88.7228f ? splat(__builtin_inff()) : value;
#endif
}

// Swaps the off-diagonal step x step blocks of rows i and i + step, for all i.
template <int step, int... i>
inline __attribute__((always_inline)) void swap_blocks(F* rows, Indices<i...>) {
  if constexpr (step < lanes)
    for (int row = 0; row < lanes; ++row) {
      if (row & step) continue;
      const F a = rows[row], b = rows[row + step];
      rows[row] = __builtin_shufflevector(a, b, ((i & step) ? i - step + int(lanes) : i)...);
      rows[row + step] = __builtin_shufflevector(a, b, ((i & step) ? i + int(lanes) : i + step)...);
    }
}

// Transposes `lanes` rows of `lanes` elements.
inline __attribute__((always_inline)) void transpose(F* rows) {
  swap_blocks<8>(rows, LaneIndices{});
  swap_blocks<4>(rows, LaneIndices{});
  swap_blocks<2>(rows, LaneIndices{});
  swap_blocks<1>(rows, LaneIndices{});
}

}  // namespace
}  // namespace nibble::cpu::NIBBLE_ISA
