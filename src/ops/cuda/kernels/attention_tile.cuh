// Tiles of attention on CUDA cores: 256 threads as a square of 16 x 16. Thread (ty, tx) owns rows
// ty + 16 i of a result and, of scores, columns tx + 16 j; of channels, groups of neighbours.
// Operands lie in shared memory as float32, padded so that 16-byte reads meet no bank twice.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <climits>
#include <cstdint>

#include "core/dtype.h"

namespace nibble::cuda::attention {

constexpr int side = 16;
constexpr int block_threads = side * side;
constexpr int padding = 4;

// A matrix of which tiles are read or written.
struct Operand {
  void* data;
  int64_t stride;
  DType dtype;
  bool by_four;  // every group of four channels is aligned
};

__device__ inline float load(const Operand& x, int64_t i) {
  switch (x.dtype) {
    case DType::bf16:
      return __bfloat162float(static_cast<const __nv_bfloat16*>(x.data)[i]);
    case DType::f16:
      return __half2float(static_cast<const __half*>(x.data)[i]);
    default:
      return static_cast<const float*>(x.data)[i];
  }
}

__device__ inline float4 load_four(const Operand& x, int64_t i) {
  if (x.dtype == DType::f32)
    return *reinterpret_cast<const float4*>(static_cast<const float*>(x.data) + i);
  const uint2 bits = *reinterpret_cast<const uint2*>(static_cast<const uint16_t*>(x.data) + i);
  float2 low, high;
  if (x.dtype == DType::bf16) {
    low = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(bits.x));
    high = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(bits.y));
  } else {
    low = __half22float2(reinterpret_cast<const __half2&>(bits.x));
    high = __half22float2(reinterpret_cast<const __half2&>(bits.y));
  }
  return {low.x, low.y, high.x, high.y};
}

__device__ inline void store(const Operand& y, int64_t i, float value) {
  switch (y.dtype) {
    case DType::bf16:
      static_cast<__nv_bfloat16*>(y.data)[i] = __float2bfloat16_rn(value);
      break;
    case DType::f16:
      static_cast<__half*>(y.data)[i] = __float2half_rn(value);
      break;
    default:
      static_cast<float*>(y.data)[i] = value;
  }
}

// Of a result [16 R, D] the thread holds, in each of its rows, D / 16 channels: pieces of `width`
// neighbours, as wide as one read.
template <int D>
struct Channels {
  static constexpr int count = D / side;
  static constexpr int width = count < 4 ? count : 4;
  __device__ static int at(int c) {
    return (c / width) * side * width + static_cast<int>(threadIdx.x) % side * width + c % width;
  }
};

template <int D>
constexpr int pitch = D + padding;

// tile[r][c] = x[row + r][column + c] for r < valid and c < head_dim, else zero.
template <int Rows, int D>
__device__ void load_tile(float* tile, const Operand& x, int64_t row, int64_t column, int valid,
                          int head_dim) {
  for (int i = static_cast<int>(threadIdx.x); i < Rows * (D / 4); i += block_threads) {
    const int r = i / (D / 4), c = i % (D / 4) * 4;
    float4 value = {0, 0, 0, 0};
    if (r < valid && c < head_dim) {
      const int64_t at = (row + r) * x.stride + column + c;
      if (x.by_four) {
        value = load_four(x, at);
      } else {
        value.x = load(x, at);
        if (c + 1 < head_dim) value.y = load(x, at + 1);
        if (c + 2 < head_dim) value.z = load(x, at + 2);
        if (c + 3 < head_dim) value.w = load(x, at + 3);
      }
    }
    *reinterpret_cast<float4*>(tile + r * pitch<D> + c) = value;
  }
}

__device__ inline float dot(float sum, const float4& a, const float4& b) {
  sum = fmaf(a.x, b.x, sum);
  sum = fmaf(a.y, b.y, sum);
  sum = fmaf(a.z, b.z, sum);
  return fmaf(a.w, b.w, sum);
}

// s = a b^T; a: [16 R, D], b: [16 S, D].
template <int D, int R, int S>
__device__ void multiply(float (&s)[R][S], const float* a, const float* b) {
  const int ty = static_cast<int>(threadIdx.x) / side, tx = static_cast<int>(threadIdx.x) % side;
#pragma unroll
  for (int i = 0; i < R; ++i)
#pragma unroll
    for (int j = 0; j < S; ++j) s[i][j] = 0;
#pragma unroll 2
  for (int c = 0; c < D; c += 4) {
    float4 x[R], y[S];
#pragma unroll
    for (int i = 0; i < R; ++i)
      x[i] = *reinterpret_cast<const float4*>(a + (ty + side * i) * pitch<D> + c);
#pragma unroll
    for (int j = 0; j < S; ++j)
      y[j] = *reinterpret_cast<const float4*>(b + (tx + side * j) * pitch<D> + c);
#pragma unroll
    for (int i = 0; i < R; ++i)
#pragma unroll
      for (int j = 0; j < S; ++j) s[i][j] = dot(s[i][j], x[i], y[j]);
  }
}

// The weights [16 R, 16 S] that multiply_add reads, written by the threads that hold them.
template <int R, int S>
__device__ void store_weights(float* tile, const float (&p)[R][S]) {
  const int ty = static_cast<int>(threadIdx.x) / side, tx = static_cast<int>(threadIdx.x) % side;
#pragma unroll
  for (int i = 0; i < R; ++i)
#pragma unroll
    for (int j = 0; j < S; ++j) tile[(ty + side * i) * pitch<side * S> + tx + side * j] = p[i][j];
}

// y += p x; p: [16 R, 16 S], x: [16 S, D].
template <int D, int R, int S>
__device__ void multiply_add(float (&y)[R][Channels<D>::count], const float* p, const float* x) {
  constexpr int count = Channels<D>::count, width = Channels<D>::width;
  const int ty = static_cast<int>(threadIdx.x) / side;
#pragma unroll 1
  for (int j = 0; j < side * S; j += 4) {
    float weights[R][4];
#pragma unroll
    for (int i = 0; i < R; ++i)
      *reinterpret_cast<float4*>(weights[i]) =
          *reinterpret_cast<const float4*>(p + (ty + side * i) * pitch<side * S> + j);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int c = 0; c < count; c += width) {
        const float* from = x + (j + k) * pitch<D> + Channels<D>::at(c);
        float values[width];
        if constexpr (width == 4)
          *reinterpret_cast<float4*>(values) = *reinterpret_cast<const float4*>(from);
        else
          *reinterpret_cast<float2*>(values) = *reinterpret_cast<const float2*>(from);
#pragma unroll
        for (int i = 0; i < R; ++i)
#pragma unroll
          for (int w = 0; w < width; ++w) y[i][c + w] = fmaf(weights[i][k], values[w], y[i][c + w]);
      }
    }
  }
}

// y[row + r] = scale * acc for r < valid.
template <int D, int R>
__device__ void store_tile(const Operand& y, int64_t row, int64_t column, int valid, int head_dim,
                           const float (&acc)[R][Channels<D>::count], float scale) {
  const int ty = static_cast<int>(threadIdx.x) / side;
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const int r = ty + side * i;
#pragma unroll
    for (int c = 0; c < Channels<D>::count; ++c) {
      const int channel = Channels<D>::at(c);
      if (r < valid && channel < head_dim)
        store(y, (row + r) * y.stride + column + channel, scale * acc[i][c]);
    }
  }
}

// Over the 16 threads that share a row.
__device__ inline float row_max(float x) {
#pragma unroll
  for (int lane = side / 2; lane > 0; lane /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, lane));
  return x;
}
__device__ inline float row_sum(float x) {
#pragma unroll
  for (int lane = side / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(~0u, x, lane);
  return x;
}

}  // namespace nibble::cuda::attention
