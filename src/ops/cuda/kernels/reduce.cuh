// Sums and maxima over warps and blocks, in a fixed order and with the same bits in every thread.
#pragma once

#include <cstdint>

namespace nibble::cuda {

struct Sum {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Max {  // of two numbers; NaN is passed over
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// Over `width` neighbouring lanes, a power of two. All lanes of the warp take part.
template <typename T, typename Op>
__device__ T warp_reduce(T x, Op op, int width = 32) {
  for (int offset = width / 2; offset > 0; offset /= 2)
    x = op(x, __shfl_xor_sync(0xffffffffu, x, offset));
  return x;
}

// Over the block, whose size is a multiple of 32. All threads take part.
template <typename T, typename Op>
__device__ T block_reduce(T x, Op op, T identity) {
  __shared__ T parts[32];
  x = warp_reduce(x, op);
  const unsigned lane = threadIdx.x % 32, warps = blockDim.x / 32;
  if (warps == 1) return x;
  __syncthreads();  // an earlier call may still be reading
  if (lane == 0) parts[threadIdx.x / 32] = x;
  __syncthreads();
  return warp_reduce(lane < warps ? parts[lane] : identity, op);
}

template <typename T>
__device__ T block_sum(T x) {
  return block_reduce(x, Sum{}, T{0});
}

}  // namespace nibble::cuda
