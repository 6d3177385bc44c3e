// 4-bit codes to numbers. A block has one scale and sixteen codes, so its sixteen possible values
// are computed once, rounded as the definition says, and then looked up.
#include "ops/cpu/kernels/declarations.h"
#include "ops/cpu/kernels/vec.h"

namespace nibble::cpu::NIBBLE_ISA {
namespace {

inline float scale_of(const FourBitScales& scales, int64_t block) {
  if (scales.absmax) return scales.absmax[block];
  // Two roundings, as in bitsandbytes' unfused kernel; this folder is built without contraction.
  const float product =
      scales.nested_map[scales.scale_codes[block]] * scales.nested_absmax[block / 256];
  return product + scales.offset;
}

// n elements, the first in the high nibble of codes[0].
template <typename T>
inline void look_up(T* w, const uint8_t* codes, const T* table, int64_t n) {
  int64_t i = 0;
#if defined(__AVX512BW__)
  if constexpr (sizeof(T) == 2) {
    const __m512i values = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i*)table));
    for (; i + 32 <= n; i += 32) {
      // Bytes to 16-bit lanes, the high nibble to the even element and the low to the odd.
      const __m128i bytes = _mm_loadu_si128((const __m128i*)(codes + i / 2));
      const __m256i pairs = _mm256_cvtepu8_epi16(bytes);
      const __m512i wide = _mm512_cvtepu16_epi32(pairs);
      const __m512i index =
          _mm512_or_si512(_mm512_srli_epi32(wide, 4),
                          _mm512_slli_epi32(_mm512_and_si512(wide, _mm512_set1_epi32(15)), 16));
      _mm512_storeu_si512(w + i, _mm512_permutexvar_epi16(index, values));
    }
  } else {
    const __m512 values = _mm512_loadu_ps(table);
    const __m512i spread = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    for (; i + 16 <= n; i += 16) {
      const __m128i bytes = _mm_loadl_epi64((const __m128i*)(codes + i / 2));
      const __m512i twice = _mm512_permutexvar_epi32(spread, _mm512_cvtepu8_epi32(bytes));
      const __m512i index = _mm512_mask_srli_epi32(twice, 0x5555, twice, 4);
      _mm512_storeu_ps(w + i, _mm512_permutexvar_ps(index, values));
    }
  }
#endif
  for (; i + 1 < n; i += 2) {
    w[i] = table[codes[i / 2] >> 4];
    w[i + 1] = table[codes[i / 2] & 15];
  }
  if (i < n) w[i] = table[codes[i / 2] >> 4];
}

}  // namespace

template <typename T>
void dequantize(void* w_, const uint8_t* codes, const float* code_map, const FourBitScales& scales,
                int64_t begin, int64_t end, int64_t block_size, Element source) {
  T* w = static_cast<T*>(w_);
  T table[16];
  for (int64_t i = begin; i < end; i += block_size) {
    const int64_t n = end - i < block_size ? end - i : block_size;
    const float scale = scale_of(scales, i / block_size);
    for (int64_t code = 0; code < 16; code += lanes)
      store(table + code, rounded(load(code_map + code) * scale, source));
    look_up(w + i, codes + i / 2, table, n);
  }
}

template void dequantize<float>(void*, const uint8_t*, const float*, const FourBitScales&, int64_t,
                                int64_t, int64_t, Element);
template void dequantize<Bf16>(void*, const uint8_t*, const float*, const FourBitScales&, int64_t,
                               int64_t, int64_t, Element);
template void dequantize<F16>(void*, const uint8_t*, const float*, const FourBitScales&, int64_t,
                              int64_t, int64_t, Element);

}  // namespace nibble::cpu::NIBBLE_ISA
