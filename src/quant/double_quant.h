// Double quantization: the scales of 4-bit blocks, themselves as 8-bit codes in blocks of 256
// (Dettmers et al. 2023, "QLoRA", section 3). The definition; backends must give the same bits.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

#include "quant/dynamic_map.h"
#include "quant/quantized_matrix.h"

namespace nibble {

// The mean of all scales, which is subtracted before encoding because scales are positive.
// Summed in double, each block of 256 in index order and then the blocks' sums, and rounded once:
// an order that a device can keep. bitsandbytes sums in float, in the order of its device, so the
// last bits of its offset are its own.
inline float scale_offset(std::span<const float> absmax) {
  constexpr size_t block_size = QuantSpec::nested_block_size;
  double sum = 0;
  for (size_t begin = 0; begin < absmax.size(); begin += block_size) {
    double block_sum = 0;
    for (const float value : absmax.subspan(begin, std::min(block_size, absmax.size() - begin)))
      block_sum += static_cast<double>(value);
    sum += block_sum;
  }
  return static_cast<float>(sum / static_cast<double>(absmax.size()));
}

// Encodes one block of at most 256 values by the map and returns its absmax. Also the format of
// 8-bit optimizer moments. codes and x have equal sizes.
inline float encode_8bit_block(std::span<uint8_t> codes, std::span<const float> x,
                               const DynamicMap& map) {
  float absmax = 0;
  for (const float value : x) absmax = std::fmax(absmax, std::fabs(value));
  const float inverse = 1.0f / absmax;
  for (size_t i = 0; i < x.size(); ++i) codes[i] = dynamic_encode(map, x[i] * inverse);
  return absmax;
}

// scale_codes, nested_absmax, offset of all scales of a matrix. absmax is overwritten by its
// differences from the offset. scale_codes: absmax.size(); nested_absmax: one for each 256.
inline void double_quantize(std::span<uint8_t> scale_codes, std::span<float> nested_absmax,
                            float& offset, std::span<float> absmax) {
  offset = scale_offset(absmax);
  for (float& value : absmax) value -= offset;
  for (size_t block = 0; block < nested_absmax.size(); ++block) {
    const size_t begin = block * QuantSpec::nested_block_size;
    const size_t count = std::min<size_t>(QuantSpec::nested_block_size, absmax.size() - begin);
    nested_absmax[block] = encode_8bit_block(scale_codes.subspan(begin, count),
                                             absmax.subspan(begin, count), dynamic_map_signed());
  }
}

}  // namespace nibble
