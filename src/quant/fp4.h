// FP4 as bitsandbytes defines it: a sign bit and three bits that name eight magnitudes, in no
// order of size (0, 1/192, 2/3, 1, 1/3, 1/2, 1/6, 1/4).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace nibble {

// 0, 0.0625, 8, 12, 4, 6, 2, 3 over 12, each quotient rounded to float. Both zeros are +0.
inline constexpr std::array<float, 16> fp4_code = {
    0.0f, 0.0625f / 12.0f,  8.0f / 12.0f,  1.0f,  4.0f / 12.0f,  0.5f,  2.0f / 12.0f,  0.25f,
    0.0f, -0.0625f / 12.0f, -8.0f / 12.0f, -1.0f, -4.0f / 12.0f, -0.5f, -2.0f / 12.0f, -0.25f,
};

// fp4_thresholds[k] separates the k-th smallest magnitude, of code fp4_ascending[k], from the next.
// The literals of bitsandbytes' kernel (csrc/kernels.cu, dQuantizeFP4), which are not all the
// means.
inline constexpr std::array<float, 7> fp4_thresholds = {
    0.00260417f, 0.0859375f, 0.20833333f, 0.29166667f, 0.4166667f, 0.583333f, 0.8333333f,
};
inline constexpr std::array<uint8_t, 8> fp4_ascending = {0, 1, 6, 7, 4, 5, 2, 3};

// Code of x in [-1, 1]; a tie goes to the smaller magnitude, and NaN to code 0.
constexpr uint8_t fp4_encode(float x) {
  const uint8_t sign = x < 0 ? 8 : 0;
  const float magnitude = x < 0 ? -x : x;
  size_t rank = 0;
  for (const float threshold : fp4_thresholds) rank += magnitude > threshold ? 1 : 0;
  return static_cast<uint8_t>(sign | fp4_ascending[rank]);
}

}  // namespace nibble
