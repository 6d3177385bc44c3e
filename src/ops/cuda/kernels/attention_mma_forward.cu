// Attention on tensor cores, as attention.cu computes it. Scores, the softmax and sums are float32;
// probabilities are rounded to the elements' type where they are factors.
#include "ops/cuda/kernels/attention_mma.cuh"

namespace nibble::cuda::attention {
namespace {

template <int D>
struct Tiles {
  static constexpr int keys = 64, stages = 2;
  static constexpr int elements = keys * mma_pitch<D>;  // of one of k and v
  static constexpr int bytes = stages * 2 * elements * 2;
};

// Over the four threads that share a row.
__device__ inline float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
  return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}
__device__ inline float quad_sum(float x) {
  x += __shfl_xor_sync(~0u, x, 1);
  return x + __shfl_xor_sync(~0u, x, 2);
}

// A block owns 128 queries; keys pass by.
template <typename T, int D>
__global__ __launch_bounds__(mma_threads, 1) void forward_kernel(Problem p, Operand out,
                                                                 float* lse) {
  constexpr int step = Tiles<D>::keys;
  T* tiles = reinterpret_cast<T*>(shared_memory);
  const Task task(p.heads, p.tiles);
  const Document document(p, task.document);
  const int begin = task.tile * owned_rows;
  if (begin >= document.queries) return;
  const int rows = min(owned_rows, document.queries - begin);
  const int64_t first_row = document.first_query + begin;
  const int64_t q_column = static_cast<int64_t>(task.head) * p.head_dim;
  const int64_t k_column = static_cast<int64_t>(task.head / p.group) * p.head_dim;

  // q passes through the memory of the keys' tiles into registers.
  uint32_t q_left[D / 16][4];
  static_assert(owned_rows * mma_pitch<D> * int{sizeof(T)} <= Tiles<D>::bytes);
  copy_tile<owned_rows, D>(tiles, p.q, first_row, q_column, rows, p.head_dim);
  commit_copies();
  wait_for_copies<0>();
  __syncthreads();
  load_all_left<T, D>(q_left, tiles);
  __syncthreads();

  const int position = document.position(begin);
  const int key_begin = max(0, position - p.window + 1), key_end = position + rows;
  const int warp_row = warp() * warp_rows;
  const int warp_position = position + warp_row;  // of the warp's first query
  const TileCopy<step, D, T> copy_k(p.k, document.first_key, k_column, p.head_dim);
  const TileCopy<step, D, T> copy_v(p.v, document.first_key, k_column, p.head_dim);
  const auto copy_keys = [&](int key, int stage) {
    if (key < key_end) {
      T* tile = tiles + stage * 2 * Tiles<D>::elements;
      const int valid = min(step, key_end - key);
      copy_k(tile, key, valid);
      copy_v(tile + Tiles<D>::elements, key, valid);
    }
    commit_copies();
  };

  float acc[D / 8][4] = {};
  float top[2] = {-INFINITY, -INFINITY}, sum[2] = {};  // of the thread's rows, its share of them
  const float scale = p.scale * log2_e;
  copy_keys(key_begin, 0);
  int stage = 0;
  for (int key = key_begin; key < key_end; key += step, stage ^= 1) {
    copy_keys(key + step, stage ^ 1);
    wait_for_copies<1>();
    __syncthreads();
    const T* k_tile = tiles + stage * 2 * Tiles<D>::elements;
    const int last = key + step - 1;
    const bool sees =
        warp_row < rows && key < warp_position + warp_rows && warp_position - last < p.window;
    if (sees) {
      float s[step / 8][4];
      scores<T, D>(
          s,
          [&](uint32_t(&a)[4], int k) {
            for (int i = 0; i < 4; ++i) a[i] = q_left[k][i];
          },
          k_tile, 0);
      if (last > warp_position || warp_position + warp_rows - 1 - key >= p.window)
        mask<false>(s, key, warp_position, p.window);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float next = top[half];
#pragma unroll
        for (int n = 0; n < step / 8; ++n)
          next = fmaxf(next, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
        next = quad_max(next);
        const float base = next == -INFINITY ? 0 : next;  // nothing seen yet
        const float correction = fast_exp2(scale * (top[half] - base));
        top[half] = next;
        sum[half] *= correction;
#pragma unroll
        for (int n = 0; n < step / 8; ++n)
#pragma unroll
          for (int i = 2 * half; i < 2 * half + 2; ++i) {
            s[n][i] = fast_exp2(scale * (s[n][i] - base));
            sum[half] += s[n][i];
          }
#pragma unroll
        for (int c = 0; c < D / 8; ++c) {
          acc[c][2 * half] *= correction;
          acc[c][2 * half + 1] *= correction;
        }
      }
      accumulate<T, D>(acc, s, k_tile + Tiles<D>::elements, 0);
    }
    __syncthreads();
  }

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float total = quad_sum(sum[half]);
    const int row = warp_row + value_row(2 * half);
    if (lane() % 4 == 0 && row < rows)
      lse[(first_row + row) * p.heads + task.head] = p.scale * top[half] + logf(total);
    const float share = 1 / total;
#pragma unroll
    for (int c = 0; c < D / 8; ++c) {
      acc[c][2 * half] *= share;
      acc[c][2 * half + 1] *= share;
    }
  }
  store_rows<T, D>(out, first_row, q_column, rows, p.head_dim, acc, 1.0f);
}

}  // namespace

void forward_on_tensor_cores(const Matrix& out, float* lse, const AttentionProblem& a,
                             cudaStream_t stream) {
  for_tensor_cores(a, [&](auto element, auto d) {
    using T = decltype(element);
    constexpr int D = d;
    static_assert(Tiles<D>::bytes <= shared_limit);
    launch(forward_kernel<T, D>, Tiles<D>::bytes, prepare(a), a.documents, a.heads,
           a.longest_queries, owned_rows, stream, operand(out, a.head_dim), lse);
  });
}

}  // namespace nibble::cuda::attention
