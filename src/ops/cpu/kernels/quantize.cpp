// Numbers to 4-bit codes, and scales to 8-bit codes; see docs/numerics.md.
#include "ops/cpu/kernels/declarations.h"
#include "ops/cpu/kernels/dynamic_code.h"
#include "ops/cpu/kernels/vec.h"

namespace nibble::cpu::NIBBLE_ISA {
namespace {

template <typename T>
void quantize_block_of(uint8_t* codes, float* absmax, const T* x, int64_t n,
                       const FourBitLevels& levels) {
  F maxima{};
  for_lanes(n, [&](int64_t i, int64_t part) { maxima = max(abs(load_n(x + i, part)), maxima); });
  *absmax = maximum(maxima);
  const float inverse = 1.0f / *absmax;  // infinite for a block of zeros, whose codes become 0
  for_lanes(n, [&](int64_t i, int64_t part) {
    const F v = load_n(x + i, part) * inverse;
    const F magnitude = levels.sign_bit ? abs(v) : v;
    I level{};
    for (int t = 0; t < levels.count; ++t) level -= magnitude > levels.thresholds[t];
    const I negative = levels.sign_bit ? (v < 0.0f) & 8 : I{};
    // An odd tail is padded with the code of the zero that load_n put there.
    for (int64_t j = 0; j < part; j += 2)
      codes[(i + j) / 2] = uint8_t((levels.codes[level[j]] + negative[j]) << 4 |
                                   (levels.codes[level[j + 1]] + negative[j + 1]));
  });
}

}  // namespace

void quantize_block(uint8_t* codes, float* absmax, const void* x, Element x_type, int64_t n,
                    const FourBitLevels& levels) {
  switch (x_type) {
    case Element::f32:
      return quantize_block_of(codes, absmax, static_cast<const float*>(x), n, levels);
    case Element::f16:
      return quantize_block_of(codes, absmax, static_cast<const F16*>(x), n, levels);
    case Element::bf16:
      return quantize_block_of(codes, absmax, static_cast<const Bf16*>(x), n, levels);
  }
}

void quantize_scales(uint8_t* codes, float* absmax, const float* x, int64_t n, float offset,
                     const float* map) {
  F maxima{};
  const auto difference = [&](int64_t i, int64_t part) { return load_n(x + i, part) - offset; };
  for_lanes(n, [&](int64_t i, int64_t part) {
    F magnitude = abs(difference(i, part));
    for (int64_t j = part; j < lanes; ++j) magnitude[j] = 0;
    maxima = max(magnitude, maxima);
  });
  *absmax = maximum(maxima);
  const float inverse = 1.0f / *absmax;
  for_lanes(n, [&](int64_t i, int64_t part) {
    store_codes(codes + i, dynamic_codes(difference(i, part) * inverse, map), part);
  });
}

}  // namespace nibble::cpu::NIBBLE_ISA
