// Block-wise 4-bit quantization: the definition, one element and one block at a time. Backends must
// give the same bits. The formulas are those of bitsandbytes' CUDA kernels (docs/numerics.md).
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <span>

#include "quant/fp4.h"
#include "quant/nf4.h"
#include "quant/quantized_matrix.h"

namespace nibble {

constexpr const std::array<float, 16>& code_map_of(QuantType type) {
  return type == QuantType::nf4 ? nf4_code : fp4_code;
}

constexpr uint8_t encode(QuantType type, float x) {
  return type == QuantType::nf4 ? nf4_encode(x) : fp4_encode(x);
}

// Encodes one block, two codes to a byte with the first in the high nibble, and returns its absmax.
// codes: (x.size() + 1) / 2 bytes; an odd tail is padded with the code of 0.
// An element is scaled by the rounded reciprocal of absmax, not divided; with absmax 0 that is
// 0 * inf = NaN, and the code 0. For bfloat16 sources the codes equal those of any sane division.
inline float encode_block(std::span<uint8_t> codes, std::span<const float> x, QuantType type) {
  float absmax = 0;
  for (const float value : x) absmax = std::fmax(absmax, std::fabs(value));
  const float inverse = 1.0f / absmax;
  for (size_t i = 0; i < codes.size(); ++i) {
    const float first = x[2 * i];
    const float second = 2 * i + 1 < x.size() ? x[2 * i + 1] : 0.0f;
    codes[i] =
        static_cast<uint8_t>(encode(type, first * inverse) << 4 | encode(type, second * inverse));
  }
  return absmax;
}

// Code of element i in packed codes.
constexpr uint8_t unpack(const uint8_t* codes, int64_t i) {
  return static_cast<uint8_t>(i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15);
}

inline float round_to(DType type, float x) {
  switch (type) {
    case DType::bf16:
      return to_float(to_bf16(x));
    case DType::f16:
      return to_float(to_f16(x));
    default:
      return x;
  }
}

// The scale of a block: stored, or decoded from its 8-bit code. Product and sum round separately.
inline float block_scale(const QuantizedMatrix& q, int64_t block) {
  if (!q.spec.double_quant) return q.absmax.as<float>()[block];
  const uint8_t code = q.scale_codes.as<uint8_t>()[block];
  const float nested = q.nested_absmax.as<float>()[block / QuantSpec::nested_block_size];
  const float difference = q.nested_map.as<float>()[code] * nested;
  return difference + q.offset.as<float>()[0];
}

// Element i, flattened row-major.
inline float decode(const QuantizedMatrix& q, int64_t i) {
  const float value = q.code_map.as<float>()[unpack(q.codes.as<uint8_t>(), i)];
  return round_to(q.source_dtype, value * block_scale(q, i / q.spec.block_size));
}

}  // namespace nibble
