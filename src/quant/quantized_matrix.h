// A block-wise 4-bit matrix as bitsandbytes defines it (docs/numerics.md): a view, like Tensor.
//
// Elements are flattened row-major and cut into blocks of block_size; each block has one scale
// (absmax). With double quantization the scales themselves are 8-bit codes in blocks of 256.
//   value(i) = RN_source( code_map[code(i)] * absmax(i / block_size) ), then rounded to the use's
//   dtype absmax(b) = nested_map[scale_codes[b]] * nested_absmax[b / 256] + offset
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace nibble {

enum class QuantType : uint8_t { nf4, fp4 };

struct QuantSpec {
  QuantType type = QuantType::nf4;
  bool double_quant = true;
  int block_size = 64;
  static constexpr int nested_block_size = 256;
  // The sizes of bitsandbytes.
  static constexpr bool is_block_size(int64_t n) {
    return n >= 32 && n <= 4096 && (n & (n - 1)) == 0;
  }
};

// Bytes of the codes and scales of n elements (docs/numerics.md, "Storage per parameter"); the
// tables, which are the same for every matrix, are not counted.
constexpr int64_t quantized_bytes(int64_t n, const QuantSpec& spec) {
  const int64_t codes = (n + 1) / 2, blocks = (n + spec.block_size - 1) / spec.block_size;
  constexpr int64_t nested = QuantSpec::nested_block_size;
  return codes +
         (spec.double_quant ? blocks + 4 * ((blocks + nested - 1) / nested) + 4 : 4 * blocks);
}

struct QuantizedMatrix {
  int64_t rows = 0;  // out_features
  int64_t cols = 0;  // in_features
  QuantSpec spec;
  DType source_dtype = DType::bf16;  // what dequantized values are rounded to first

  Tensor codes;          // u8 [1, ceil(n/2)], first element in the high nibble
  Tensor code_map;       // f32 [1, 16]
  Tensor absmax;         // f32 [1, blocks], without double quantization
  Tensor scale_codes;    // u8 [1, blocks], with it
  Tensor nested_absmax;  // f32 [1, ceil(blocks/256)]
  Tensor nested_map;     // f32 [1, 256]
  Tensor offset;         // f32 [1, 1]

  int64_t size() const { return rows * cols; }
  int64_t blocks() const { return (size() + spec.block_size - 1) / spec.block_size; }
  explicit operator bool() const { return static_cast<bool>(codes); }
};

// A frozen linear layer, y = x W^T + bias: dense or quantized.
struct FrozenLinear {
  int64_t out_features = 0;
  int64_t in_features = 0;
  Tensor dense;  // compute dtype [out, in]; empty when quantized
  QuantizedMatrix quantized;
  Tensor bias;  // compute dtype [1, out], or empty
};

}  // namespace nibble
