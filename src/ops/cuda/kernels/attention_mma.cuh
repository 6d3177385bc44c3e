// Tiles of attention on tensor cores, for bf16 and f16 with heads of whole 16-byte chunks. A block
// of 8 warps owns 128 rows, 16 a warp; tiles of the other operands pass through shared memory,
// whose rows are padded by a chunk so that 8 of them meet no bank twice.
#pragma once

#include "ops/cuda/kernels/attention_problem.cuh"
#include "ops/cuda/kernels/elements.cuh"
#include "ops/cuda/kernels/mma.cuh"

namespace nibble::cuda::attention {

constexpr int warps = 8;
constexpr int warp_rows = 16;
constexpr int owned_rows = warps * warp_rows;
constexpr int mma_threads = 32 * warps;
static_assert(mma_threads == block_threads);
constexpr int chunk = 8;                           // elements in 16 bytes
constexpr float log2_e = 1.44269504088896340736f;  // softmax works in powers of two

template <int D>
constexpr int mma_pitch = D + chunk;

__device__ inline int lane() { return static_cast<int>(threadIdx.x) % 32; }
__device__ inline int warp() { return static_cast<int>(threadIdx.x) / 32; }

// The thread's share of copying tiles of `Rows` rows: one chunk of every `step`th row.
template <int Rows, int D, typename T>
class TileCopy {
 public:
  // Rows are counted from `row` on.
  __device__ TileCopy(const Operand& x, int64_t row, int64_t column, int head_dim)
      : row_(static_cast<int>(threadIdx.x) / chunks),
        stride_(static_cast<int>(x.stride)),
        inside_(row_ < step && at() < head_dim),
        from_(static_cast<const T*>(x.data) + (row + row_) * x.stride + column + at()) {}

  // Starts copying rows first .. first + Rows, `column` to the right, to a tile; zeros for rows
  // from `valid` on and channels from head_dim on.
  __device__ void operator()(T* tile, int first, int valid, int column = 0) const {
    if (row_ >= step) return;
    const T* from = from_ + static_cast<int64_t>(first) * stride_ + column;
    T* to = tile + row_ * mma_pitch<D> + at();
#pragma unroll
    for (int r = 0; r < Rows; r += step)
      copy_chunk(to + r * mma_pitch<D>, from + static_cast<int64_t>(r) * stride_,
                 inside_ && row_ + r < valid);
  }

 private:
  static constexpr int chunks = D / chunk;  // of a row
  static constexpr int step = D <= 64 ? 32 : 16;
  static_assert(step * chunks <= block_threads && Rows % step == 0);
  __device__ static int at() { return static_cast<int>(threadIdx.x) % chunks * chunk; }

  int row_, stride_;
  bool inside_;
  const T* from_;
};

// The same for a tile that is copied once.
template <int Rows, int D, typename T>
__device__ void copy_tile(T* tile, const Operand& x, int64_t row, int64_t column, int valid,
                          int head_dim) {
  TileCopy<Rows, D, T>(x, row, column, head_dim)(tile, 0, valid);
}

// Of a tile, 16 rows from `row` on and 16 columns from `column` on, as a left operand.
template <int D, typename T>
__device__ void load_left(uint32_t (&a)[4], const T* tile, int row, int column) {
  load_matrices(a, tile + (row + lane() % 16) * mma_pitch<D> + column + lane() / 16 * 8);
}
// 16 rows and 16 columns, as two right operands of the transposed tile: its rows are the results'
// columns. b[0], b[1] belong to the first 8 rows, b[2], b[3] to the others.
template <int D, typename T>
__device__ void load_right_transposed(uint32_t (&b)[4], const T* tile, int row, int column) {
  load_matrices(
      b, tile + (row + lane() % 8 + lane() / 16 * 8) * mma_pitch<D> + column + lane() / 8 % 2 * 8);
}
// 16 rows and 16 columns, as two right operands: b[0], b[1] for the first 8 columns, b[2], b[3]
// for the others.
template <int D, typename T>
__device__ void load_right(uint32_t (&b)[4], const T* tile, int row, int column) {
  load_transposed_matrices(b, tile + (row + lane() % 16) * mma_pitch<D> + column + lane() / 16 * 8);
}

// The warp's 16 rows, all D columns, as left operands that stay in registers.
template <typename T, int D>
__device__ void load_all_left(uint32_t (&a)[D / 16][4], const T* tile) {
#pragma unroll
  for (int k = 0; k < D / 16; ++k) load_left<D>(a[k], tile, warp() * warp_rows, 16 * k);
}

// s = a x^T for 8 N rows of the tile x from `row` on. left(k) gives a's columns 16 k .. 16 k + 15.
template <typename T, int D, int N, typename Left>
__device__ void scores(float (&s)[N][4], Left left, const T* x, int row) {
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) s[n][i] = 0;
#pragma unroll
  for (int k = 0; k < D / 16; ++k) {
    uint32_t a[4];
    left(a, k);
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      uint32_t b[4];
      load_right_transposed<D>(b, x, row + 8 * n, 16 * k);
      tensor_multiply_add<T>(s[n], a, b[0], b[1]);
      tensor_multiply_add<T>(s[n + 1], a, b[2], b[3]);
    }
  }
}

// acc += w x for 8 N rows of the tile x from `row` on; w is rounded to T.
template <typename T, int D, int N>
__device__ void accumulate(float (&acc)[D / 8][4], const float (&w)[N][4], const T* x, int row) {
#pragma unroll
  for (int n = 0; n < N; n += 2) {
    const uint32_t a[4] = {pack<T>(w[n][0], w[n][1]), pack<T>(w[n][2], w[n][3]),
                           pack<T>(w[n + 1][0], w[n + 1][1]), pack<T>(w[n + 1][2], w[n + 1][3])};
#pragma unroll
    for (int c = 0; c < D / 8; c += 2) {
      uint32_t b[4];
      load_right<D>(b, x, row + 8 * n, 8 * c);
      tensor_multiply_add<T>(acc[c], a, b[0], b[1]);
      tensor_multiply_add<T>(acc[c + 1], a, b[2], b[3]);
    }
  }
}

// The rows and columns of the values a thread holds of a result, within the warp's 16 x 8.
__device__ inline int value_row(int i) { return lane() / 4 + i / 2 * 8; }
__device__ inline int value_column(int i) { return lane() % 4 * 2 + i % 2; }

// Scores of keys that a query does not see become -infinity. One of the result's rows and columns
// are keys from `key` on, the other queries from `position` on.
template <bool keys_in_rows, int N>
__device__ void mask(float (&s)[N][4], int key, int position, int window) {
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = value_row(i), column = 8 * n + value_column(i);
      const bool seen = keys_in_rows ? visible(key + row, position + column, window)
                                     : visible(key + column, position + row, window);
      s[n][i] = seen ? s[n][i] : -INFINITY;
    }
}

// y[row + r] = scale * acc for the warp's rows r < valid.
template <typename T, int D>
__device__ void store_rows(const Operand& y, int64_t row, int64_t column, int valid, int head_dim,
                           const float (&acc)[D / 8][4], float scale) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = warp() * warp_rows + value_row(2 * half);
    if (r >= valid) continue;
    T* to = static_cast<T*>(y.data) + (row + r) * y.stride + column + value_column(0);
#pragma unroll
    for (int c = 0; c < D / 8; ++c)
      if (8 * c < head_dim)
        *reinterpret_cast<uint32_t*>(to + 8 * c) =
            pack<T>(scale * acc[c][2 * half], scale * acc[c][2 * half + 1]);
  }
}

// Calls f with an element of the type and the least D that holds the channels.
template <typename F>
void for_tensor_cores(const AttentionProblem& a, F f) {
  const auto with_type = [&](auto element) {
    if (a.head_dim <= 64) return f(element, std::integral_constant<int, 64>());
    if (a.head_dim <= 96) return f(element, std::integral_constant<int, 96>());
    f(element, std::integral_constant<int, 128>());
  };
  if (a.q.dtype == DType::bf16)
    with_type(__nv_bfloat16{});
  else
    with_type(__half{});
}

}  // namespace nibble::cuda::attention
