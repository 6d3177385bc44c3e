// The 8-bit codes of numbers in a dynamic map: bitsandbytes' binary search (docs/numerics.md,
// "4-bit weights").
#pragma once

#include "ops/cpu/kernels/vec.h"

namespace nibble::cpu::NIBBLE_ISA {
namespace {

inline F look_up(const float* map, I index) {
#if defined(__AVX512F__)
  return (F)_mm512_i32gather_ps((__m512i)index, map, 4);
#elif defined(__AVX2__)
  return (F)_mm256_i32gather_ps(map, (__m256i)index, 4);
#else
  F v;
  for (int i = 0; i < lanes; ++i) v[i] = map[index[i]];
  return v;
#endif
}

// The nearest of the map's 256 entries; a tie goes to the even code; NaN to code 0.
inline I dynamic_codes(F x, const float* map) {
  I pivot = I{} + 127, lower{}, upper = I{} + 255;
  for (int step = 64; step > 0; step /= 2) {
    const I above = x > look_up(map, pivot);
    lower = above ? pivot : lower;
    upper = above ? upper : pivot;
    pivot += above ? I{} + step : I{} - step;
  }
  const F value = look_up(map, pivot);
  const I above = x > value;
  const I neighbour = above ? upper : lower;
  const F middle = (look_up(map, neighbour) + value) * 0.5f;
  const I past = above ? x > middle : x < middle;
  return past ? neighbour : pivot;
}

inline I load_codes(const uint8_t* codes, int64_t n) {
  I v{};
  for (int64_t i = 0; i < n; ++i) v[i] = codes[i];
  return v;
}
inline void store_codes(uint8_t* codes, I v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) codes[i] = uint8_t(v[i]);
}

}  // namespace
}  // namespace nibble::cpu::NIBBLE_ISA
