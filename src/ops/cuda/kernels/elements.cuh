// Elements of f32, bf16 and f16 as the kernels see them: chunks of eight that are read and written
// in 16-byte accesses, and computed in float.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "ops/cuda/kernels/kernels.h"

namespace nibble::cuda {

__host__ __device__ constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// ---- on the host: from run-time types to template arguments

// Calls body with a value of the device's type for a floating dtype. Ops has checked that it is
// one.
template <typename Body>
void dispatch(DType type, const Body& body) {
  switch (type) {
    case DType::f32:
      return body(float{});
    case DType::bf16:
      return body(__nv_bfloat16{});
    case DType::f16:
      return body(__half{});
    default:
      return;
  }
}

template <typename Body>
void dispatch(bool flag, const Body& body) {
  if (flag)
    body(std::true_type{});
  else
    body(std::false_type{});
}

inline constexpr int chunk_size = 8;  // elements

inline bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

// Whether every row divides into whole chunks at 16-byte addresses.
inline bool in_chunks(const Matrix& x) {
  return aligned(x.data) && x.cols % chunk_size == 0 &&
         x.stride * static_cast<int64_t>(size_of(x.dtype)) % 16 == 0;
}

template <typename T>
T* data_of(const Matrix& x) {
  return static_cast<T*>(x.data);
}

// ---- on the device

template <typename T>
__device__ T round_to(float x) {
  if constexpr (std::is_same_v<T, float>)
    return x;
  else if constexpr (std::is_same_v<T, __nv_bfloat16>)
    return __float2bfloat16_rn(x);
  else
    return __float2half_rn(x);
}
__device__ inline float as_float(float x) { return x; }
__device__ inline float as_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float as_float(__half x) { return __half2float(x); }

// Eight elements as they lie in memory, two 16-bit ones to a word.
template <typename T>
struct Chunk {
  uint32_t words[chunk_size * sizeof(T) / 4];

  __device__ float operator[](int i) const {
    if constexpr (std::is_same_v<T, float>) {
      return __uint_as_float(words[i]);
    } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
      return __uint_as_float(i % 2 ? words[i / 2] & 0xffff0000u : words[i / 2] << 16);
    } else {
      const uint32_t word = words[i / 2];
      return __half2float(__ushort_as_half(static_cast<uint16_t>(i % 2 ? word >> 16 : word)));
    }
  }
};

template <typename T>
__device__ uint32_t pack(float a, float b) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
    return uint32_t{__bfloat16_as_ushort(pair.y)} << 16 | __bfloat16_as_ushort(pair.x);
  } else {
    const __half2 pair = __floats2half2_rn(a, b);
    return uint32_t{__half_as_ushort(pair.y)} << 16 | __half_as_ushort(pair.x);
  }
}

// The chunk at p. `vector`: it is whole and p a 16-byte address. Otherwise it is read element by
// element, and those from `count` on are zero.
template <bool vector, typename T>
__device__ Chunk<T> load_chunk(const T* p, int64_t count) {
  Chunk<T> chunk;
  if constexpr (vector) {
    for (int i = 0; i < static_cast<int>(sizeof(T)) / 2; ++i) {
      const uint4 piece = reinterpret_cast<const uint4*>(p)[i];
      chunk.words[4 * i] = piece.x;
      chunk.words[4 * i + 1] = piece.y;
      chunk.words[4 * i + 2] = piece.z;
      chunk.words[4 * i + 3] = piece.w;
    }
  } else if constexpr (sizeof(T) == 4) {
    for (int i = 0; i < chunk_size; ++i) chunk.words[i] = i < count ? __float_as_uint(p[i]) : 0;
  } else {
    const auto* halves = reinterpret_cast<const uint16_t*>(p);
    for (int i = 0; i < chunk_size; i += 2) {
      const uint32_t low = i < count ? halves[i] : 0;
      const uint32_t high = i + 1 < count ? halves[i + 1] : 0;
      chunk.words[i / 2] = high << 16 | low;
    }
  }
  return chunk;
}

// Rounds and writes the chunk at p, or its first `count` elements.
template <bool vector, typename T>
__device__ void store_chunk(T* p, const float (&v)[chunk_size], int64_t count) {
  if constexpr (!vector) {
    for (int i = 0; i < chunk_size; ++i)
      if (i < count) p[i] = round_to<T>(v[i]);
  } else if constexpr (sizeof(T) == 4) {
    auto* pieces = reinterpret_cast<float4*>(p);
    pieces[0] = make_float4(v[0], v[1], v[2], v[3]);
    pieces[1] = make_float4(v[4], v[5], v[6], v[7]);
  } else {
    *reinterpret_cast<uint4*>(p) = make_uint4(pack<T>(v[0], v[1]), pack<T>(v[2], v[3]),
                                              pack<T>(v[4], v[5]), pack<T>(v[6], v[7]));
  }
}

}  // namespace nibble::cuda
