// How attention's tiles are laid out for tile_product: as words along the channels of a token or
// along tokens, whichever dimension the product sums over, and transposed.
#pragma once

#include "ops/cpu/kernels/gemm_tile.h"

namespace nibble::cpu::NIBBLE_ISA {
namespace {

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// A tile of `rows` tokens by `cols` channels of a matrix of T.
template <typename T>
struct TileView {
  const T* data;
  int64_t stride, rows, cols;
};

// Writes row(0), row(1), ..., row(rows - 1), of `words` lanes each, as columns: y[word][row].
template <typename Row>
inline void transpose_block(float* y, int64_t rows, int64_t words, const Row& row) {
  for (int64_t r = 0; r < rows; r += lanes) {
    F block[lanes];
    for (int64_t i = 0; i < lanes; ++i) block[i] = r + i < rows ? row(r + i) : F{};
    transpose(block);
    for (int64_t i = 0; i < words; ++i) store(y + i * attention_tile + r, block[i]);
  }
}

template <typename T>
struct FloatPacking {
  using Word = float;
  static constexpr int64_t pair = 1;

  // [rows, row_words]; channels are padded with zeros to a multiple of `lanes`.
  static void pack_channels(Word* y, int64_t row_words, const TileView<T>& x) {
    for (int64_t r = 0; r < x.rows; ++r)
      for_lanes(x.cols, [&](int64_t c, int64_t part) {
        store(y + r * row_words + c, load_n(x.data + r * x.stride + c, part));
      });
  }
  // [rows / pair, row_words]: here the same.
  static void pack_tokens(Word* y, int64_t row_words, const TileView<T>& x) {
    pack_channels(y, row_words, x);
  }
  // [cols / pair, attention_tile]: tokens along the lanes, zeros up to a multiple of `lanes`.
  static void pack_transposed(Word* y, const TileView<T>& x) {
    for (int64_t c = 0; c < x.cols; c += lanes)
      transpose_block(y + c * attention_tile, x.rows, least(lanes, x.cols - c), [&](int64_t r) {
        return load_n(x.data + r * x.stride + c, least(lanes, x.cols - c));
      });
  }
  // Rows i (and i + 1 where words are pairs) of a float matrix as one row of words along tokens.
  static void store_words(Word* y, F first, F) { store(y, first); }
};

template <typename T>
struct Packing : FloatPacking<T> {};

#if defined(__AVX512BF16__)
template <>
struct Packing<Bf16> {
  using Word = Bf16Pair;
  static constexpr int64_t pair = 2;

  static void pack_channels(Word* y, int64_t row_words, const TileView<Bf16>& x) {
    for (int64_t r = 0; r < x.rows; ++r) {
      Bf16* row = reinterpret_cast<Bf16*>(y + r * row_words);
      __builtin_memcpy(row, x.data + r * x.stride, size_t(x.cols) * sizeof(Bf16));
      if (x.cols % 2) row[x.cols] = {};
    }
  }
  static void pack_tokens(Word* y, int64_t row_words, const TileView<Bf16>& x) {
    for (int64_t r = 0; r < x.rows; r += 2) {
      const Bf16* first = x.data + r * x.stride;
      for_lanes(x.cols, [&](int64_t c, int64_t part) {
        U low = (U)load_n(first + c, part) >> 16, high{};
        if (r + 1 < x.rows) high = (U)load_n(first + x.stride + c, part);
        low |= high;
        __builtin_memcpy(y + r / 2 * row_words + c, &low, sizeof low);
      });
    }
  }
  static void pack_transposed(Word* y, const TileView<Bf16>& x) {
    for (int64_t c = 0; c < x.cols; c += 2 * lanes) {
      const int64_t cols = least(2 * lanes, x.cols - c);
      transpose_block(reinterpret_cast<float*>(y + c / 2 * attention_tile), x.rows, (cols + 1) / 2,
                      [&](int64_t r) {
                        F words{};
                        __builtin_memcpy(&words, x.data + r * x.stride + c,
                                         size_t(cols) * sizeof(Bf16));
                        return words;
                      });
    }
  }
  static void store_words(Word* y, F first, F second) {
    alignas(64) static constexpr uint16_t interleave[32] = {
        0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
    _mm512_storeu_si512(y, _mm512_permutexvar_epi16(_mm512_load_si512(interleave), both));
  }
};
#endif

}  // namespace
}  // namespace nibble::cpu::NIBBLE_ISA
