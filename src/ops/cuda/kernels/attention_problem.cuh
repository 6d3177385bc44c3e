// What the attention kernels share: the problem as they see it, a block's share of it, and the
// launch: one block for every tile of every head of every document; blocks beyond the end of a
// document return at once.
#pragma once

#include <initializer_list>
#include <type_traits>

#include "ops/cuda/kernels/attention_tile.cuh"
#include "ops/cuda/kernels/kernels.h"

namespace nibble::cuda::attention {

struct Problem {
  Operand q, k, v;
  const int32_t *query_offsets, *key_offsets;
  int heads, group, head_dim;
  int window;  // INT_MAX: none
  float scale;
  int tiles;  // of the longest document
};

// The block's share. Late tiles see the most keys and come first.
struct Task {
  int document, head, tile;
  __device__ Task(int heads, int tiles) {
    const unsigned block = blockIdx.x, n = static_cast<unsigned>(tiles);
    tile = tiles - 1 - static_cast<int>(block % n);
    head = static_cast<int>(block / n % static_cast<unsigned>(heads));
    document = static_cast<int>(block / n / static_cast<unsigned>(heads));
  }
};

struct Document {
  int first_query, queries, first_key, keys;
  __device__ Document(const Problem& p, int i)
      : first_query(p.query_offsets[i]),
        queries(p.query_offsets[i + 1] - first_query),
        first_key(p.key_offsets[i]),
        keys(p.key_offsets[i + 1] - first_key) {}
  // A document's queries are its last tokens.
  __device__ int position(int query) const { return keys - queries + query; }
};

__device__ inline bool visible(int key, int position, int window) {
  return key <= position && position - key < window;
}

// Shared memory of a block that keeps `owned` tiles of 16 R rows, one of 16 S rows that others pass
// through, and the weights between both. R and S are chosen so that it stays below what every GPU
// since compute capability 8.0 has.
template <int D, int R, int S>
constexpr int shared_bytes(int owned) {
  const int floats = (owned * R + S) * side * pitch<D> + R * side * pitch<side * S>;
  return floats * static_cast<int>(sizeof(float));
}
constexpr int shared_limit = 99 * 1024;

extern __shared__ float4 shared_memory[];

inline Operand operand(const Matrix& x, int64_t head_dim) {
  const auto address = reinterpret_cast<uintptr_t>(x.data);
  return {x.data, x.stride, x.dtype,
          head_dim % 4 == 0 && x.stride % 4 == 0 && address % (4 * size_of(x.dtype)) == 0};
}

inline Problem prepare(const AttentionProblem& a) {
  const int64_t window = a.window > 0 && a.window < INT_MAX ? a.window : INT_MAX;
  return {operand(a.q, a.head_dim),
          operand(a.k, a.head_dim),
          operand(a.v, a.head_dim),
          a.query_offsets,
          a.key_offsets,
          static_cast<int>(a.heads),
          static_cast<int>(a.heads / a.kv_heads),
          static_cast<int>(a.head_dim),
          static_cast<int>(window),
          a.scale,
          0};
}

template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Problem, Parameters...), int bytes, Problem p, int64_t documents,
            int64_t heads, int64_t longest, int rows_of_tile, cudaStream_t stream,
            Arguments... arguments) {
  p.tiles = static_cast<int>((longest + rows_of_tile - 1) / rows_of_tile);
  const int64_t blocks = documents * heads * p.tiles;
  if (blocks == 0) return;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  kernel<<<static_cast<unsigned>(blocks), block_threads, static_cast<size_t>(bytes), stream>>>(
      p, arguments...);
}

// attention_few.cu; at most so many queries in a document.
constexpr int most_few_queries = 8;
void forward_of_few_queries(const Matrix& out, float* lse, const AttentionProblem& a,
                            cudaStream_t stream);

// attention_mma_*.cu compute bf16 and f16 with heads of whole chunks of eight up to 128 channels,
// if the rows of all operands begin at 16-byte addresses.
bool fits_tensor_cores(const AttentionProblem& a, std::initializer_list<Matrix> operands);
void forward_on_tensor_cores(const Matrix& out, float* lse, const AttentionProblem& a,
                             cudaStream_t stream);
// delta: as attention_backward computed it.
void backward_on_tensor_cores(const Matrix& dq, const Matrix& dk, const Matrix& dv,
                              const Matrix& dout, const float* lse, const float* delta,
                              const AttentionProblem& a, cudaStream_t stream);

// Calls f with the least multiple of 32 that is a power of two and holds the channels.
template <typename F>
void for_head_dim(int64_t head_dim, F f) {
  if (head_dim <= 32) return f(std::integral_constant<int, 32>());
  if (head_dim <= 64) return f(std::integral_constant<int, 64>());
  if (head_dim <= 128) return f(std::integral_constant<int, 128>());
  f(std::integral_constant<int, 256>());
}

}  // namespace nibble::cuda::attention
