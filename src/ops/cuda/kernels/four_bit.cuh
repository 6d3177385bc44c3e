// Elements of 4-bit matrices: a block's scale, and the value of a code.
#pragma once

#include "ops/cuda/kernels/elements.cuh"

namespace nibble::cuda {

inline constexpr int nested_block = 256;  // scales

// A block's scale in two steps: what is read from memory, and what that says.
template <bool nested>
struct Scale {
  uint32_t stored;  // the scale's bits, or its code
  float absmax;     // of the codes

  template <typename Index>
  __device__ void load(const FourBitMatrix& q, Index block) {
    stored = nested ? q.scale_codes[block] : __float_as_uint(q.absmax[block]);
    absmax = nested ? q.nested_absmax[block / nested_block] : 0;
  }
  __device__ float value(const FourBitMatrix& q, float offset) const {
    return nested ? __fadd_rn(__fmul_rn(q.nested_map[stored], absmax), offset)
                  : __uint_as_float(stored);
  }
};

// The value in Source; when it is stored as that, the store rounds it.
template <typename Y, typename Source>
__device__ float decoded(float code_value, float scale) {
  const float value = __fmul_rn(code_value, scale);
  return std::is_same_v<Y, Source> ? value : as_float(round_to<Source>(value));
}

}  // namespace nibble::cuda
