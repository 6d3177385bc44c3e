// The dynamic 8-bit maps of bitsandbytes (Dettmers et al. 2022, "8-bit Optimizers via Block-wise
// Quantization", section 2.3): 256 values in [-1, 1] or [0, 1], denser towards zero, ascending.
// Signed: scales of 4-bit blocks and Adam's first moment. Unsigned: Adam's second moment.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace nibble {

using DynamicMap = std::array<float, 256>;

const DynamicMap& dynamic_map_signed();
const DynamicMap& dynamic_map_unsigned();

// Index of the map's value nearest to x; an exact midpoint goes to the even index. NaN (an element
// of an all-zero block: 0 * inf) goes to index 0. This is the search of bitsandbytes' kernel.
constexpr uint8_t dynamic_encode(const DynamicMap& map, float x) {
  int pivot = 127;
  int lower = 0;
  int upper = 255;
  for (int step = 64; step > 0; step /= 2) {
    if (x > map[static_cast<size_t>(pivot)]) {
      lower = pivot;
      pivot += step;
    } else {
      upper = pivot;
      pivot -= step;
    }
  }
  const float value = map[static_cast<size_t>(pivot)];
  const int neighbour = x > value ? upper : lower;
  const float midpoint = (map[static_cast<size_t>(neighbour)] + value) * 0.5f;
  const bool past = x > value ? x > midpoint : x < midpoint;
  return static_cast<uint8_t>(past ? neighbour : pivot);
}

}  // namespace nibble
