// NF4: sixteen quantiles of the standard normal distribution (Dettmers et al. 2023, "QLoRA",
// appendix E), with the exact bits that bitsandbytes uses. The code is the index in the table.
#pragma once

#include <array>
#include <cstdint>

namespace nibble {

// Every decimal is an exact float.
inline constexpr std::array<float, 16> nf4_code = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};

// nf4_thresholds[k] separates code k from code k + 1. The literals of bitsandbytes' kernel
// (csrc/kernels.cu, dQuantizeNF4): each within an ulp of the mean of its codes. They must stay
// float literals: four of them round differently by way of double.
inline constexpr std::array<float, 15> nf4_thresholds = {
    -0.8480964004993439f,  -0.6106329262256622f,  -0.4599952697753906f,   -0.33967943489551544f,
    -0.23460740596055984f, -0.13791173323988914f, -0.045525018125772476f, 0.03979014977812767f,
    0.1202552504837513f,   0.2035212516784668f,   0.2920137718319893f,    0.3893125355243683f,
    0.5016634166240692f,   0.6427869200706482f,   0.8614784181118011f,
};

// Code of x in [-1, 1]: the number of thresholds below x, so a tie goes to the lower code, and NaN
// (an element of an all-zero block: 0 * inf) to code 0.
constexpr uint8_t nf4_encode(float x) {
  unsigned code = 0;
  for (const float threshold : nf4_thresholds) code += x > threshold ? 1u : 0u;
  return static_cast<uint8_t>(code);
}

}  // namespace nibble
