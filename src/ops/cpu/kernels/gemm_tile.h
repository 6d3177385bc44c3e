// A small matrix product on packed tiles, for attention: registers hold the result, each step
// multiplies a row of B by broadcast elements of A.
//
// The summed dimension comes in words. A word is one float; or, where the machine has AVX512_BF16,
// two neighbouring bfloat16, whose products are summed in float32.
#pragma once

#include "ops/cpu/kernels/vec.h"

namespace nibble::cpu::NIBBLE_ISA {
namespace {

#if defined(__AVX512F__)
inline constexpr int block_rows = 6, block_vectors = 4;
#elif defined(__AVX2__)
inline constexpr int block_rows = 6, block_vectors = 2;
#else
inline constexpr int block_rows = 4, block_vectors = 2;
#endif

struct Bf16Pair {
  uint32_t bits;  // the first element in the low half
};

inline F multiply_add_word(float a, F b, F c) { return multiply_add(splat(a), b, c); }
#if defined(__AVX512BF16__)
inline F multiply_add_word(Bf16Pair a, F b, F c) {
  return (F)_mm512_dpbf16_ps((__m512)c, (__m512bh)_mm512_set1_epi32(int(a.bits)), (__m512bh)b);
}
#endif

template <typename Word>
struct TileProduct {
  float* c;  // [m, n], rows ldc apart
  int64_t ldc;
  const Word* a;  // element (i, p) at a[i * a_row + p * a_col]
  int64_t a_row, a_col;
  const Word* b;  // [k, n], rows ldb apart
  int64_t ldb;
  int64_t m, n, k;  // n: a multiple of `lanes`
};

template <int rows, int vectors, bool accumulate, typename Word>
inline __attribute__((always_inline)) void product_block(const TileProduct<Word>& t, int64_t i,
                                                         int64_t j) {
  // Unrolled before GCC decides what lives in registers; later is too late for `sums`.
  F sums[rows][vectors];
  float* c = t.c + i * t.ldc + j;
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v)
      sums[r][v] = accumulate ? load(c + r * t.ldc + v * lanes) : F{};
  const Word* a = t.a + i * t.a_row;
  const Word* b = t.b + j;
  const int64_t a_row = t.a_row, a_col = t.a_col, ldb = t.ldb;
#pragma GCC unroll 2
  for (int64_t p = 0; p < t.k; ++p) {
    F row[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) __builtin_memcpy(&row[v], b + v * lanes, sizeof(F));
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v)
        sums[r][v] = multiply_add_word(a[r * a_row], row[v], sums[r][v]);
    a += a_col;
    b += ldb;
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) store(c + r * t.ldc + v * lanes, sums[r][v]);
}

template <int vectors, bool accumulate, typename Word>
inline void product_columns(const TileProduct<Word>& t, int64_t j) {
  int64_t i = 0;
  for (; i + block_rows <= t.m; i += block_rows)
    product_block<block_rows, vectors, accumulate>(t, i, j);
  for (; i + 2 <= t.m; i += 2) product_block<2, vectors, accumulate>(t, i, j);
  if (i < t.m) product_block<1, vectors, accumulate>(t, i, j);
}

// c = a b, or c += a b.
template <bool accumulate, typename Word>
inline void tile_product(const TileProduct<Word>& t) {
  const int64_t width = block_vectors * lanes;
  int64_t j = 0;
  for (; j + width <= t.n; j += width) product_columns<block_vectors, accumulate>(t, j);
  for (; j < t.n; j += lanes) product_columns<1, accumulate>(t, j);
}

}  // namespace
}  // namespace nibble::cpu::NIBBLE_ISA
