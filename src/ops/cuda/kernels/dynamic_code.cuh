// The 8-bit code of a number in a dynamic map; quant/dynamic_map.h is the definition.
#pragma once

#include <cstdint>

namespace nibble::cuda {

// The nearest of the map's 256 entries; a tie goes to the even code, NaN to code 0.
__device__ inline int dynamic_code(const float* map, float x) {
  int pivot = 127, lower = 0, upper = 255;
#pragma unroll
  for (int step = 64; step > 0; step /= 2) {
    if (x > map[pivot]) {
      lower = pivot;
      pivot += step;
    } else {
      upper = pivot;
      pivot -= step;
    }
  }
  const float value = map[pivot];
  const int neighbour = x > value ? upper : lower;
  const float midpoint = (map[neighbour] + value) * 0.5f;
  const bool past = x > value ? x > midpoint : x < midpoint;
  return past ? neighbour : pivot;
}

}  // namespace nibble::cuda
