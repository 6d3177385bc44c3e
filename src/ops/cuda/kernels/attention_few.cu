// Attention of a few queries, as generation has them, for any dtype and head dimensions up to 256:
// a block for each query of each head. Its warps take the keys in turn, a few at a time, each with
// a softmax of its own (Dao 2023, algorithm 1), and put their sums together in the end.
#include "ops/cuda/kernels/attention_problem.cuh"
#include "ops/cuda/kernels/elements.cuh"
#include "ops/cuda/kernels/reduce.cuh"

namespace nibble::cuda::attention {
namespace {

constexpr int few_warps = 32;
constexpr int few_threads = 32 * few_warps;

__device__ inline float4 scaled_sum(float factor, const float4& a, const float4& b) {
  return {fmaf(factor, a.x, b.x), fmaf(factor, a.y, b.y), fmaf(factor, a.z, b.z),
          fmaf(factor, a.w, b.w)};
}

// Four channels, or the first `left` of them and zeros. `aligned`: they can be read at once.
template <typename T, bool aligned>
__device__ float4 load_four_of(const T* x, int left) {
  if constexpr (!aligned) {
    return {as_float(x[0]), left > 1 ? as_float(x[1]) : 0, left > 2 ? as_float(x[2]) : 0,
            left > 3 ? as_float(x[3]) : 0};
  } else if constexpr (sizeof(T) == 4) {
    return *reinterpret_cast<const float4*>(x);
  } else {
    struct alignas(8) Four {
      T x, y, z, w;
    };
    const Four four = *reinterpret_cast<const Four*>(x);
    return {as_float(four.x), as_float(four.y), as_float(four.z), as_float(four.w)};
  }
}

// Each lane has N groups of four channels.
template <typename T, int N, bool aligned>
__global__ void __launch_bounds__(few_threads)
    few_queries_kernel(Problem p, Operand out, float* lse) {
  constexpr int together = 4;
  __shared__ float tops[few_warps], sums[few_warps];
  __shared__ float4 parts[few_warps][32 * N];
  const Task task(p.heads, p.tiles);  // a tile is a query
  const Document document(p, task.document);
  if (task.tile >= document.queries) return;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t q_column = static_cast<int64_t>(task.head) * p.head_dim;
  const int64_t k_column = static_cast<int64_t>(task.head / p.group) * p.head_dim;
  const int64_t row = document.first_query + task.tile;
  const auto channels = [&](const Operand& x, int64_t of_row, int64_t column, int n) -> float4 {
    const int c = 4 * (lane + 32 * n);
    if (c >= p.head_dim) return {0, 0, 0, 0};
    return load_four_of<T, aligned>(static_cast<const T*>(x.data) + of_row * x.stride + column + c,
                                    p.head_dim - c);
  };

  float4 q[N], acc[N] = {};
#pragma unroll
  for (int n = 0; n < N; ++n) q[n] = channels(p.q, row, q_column, n);
  float top = -INFINITY, sum = 0;
  const int position = document.position(task.tile), end = position + 1;
  const int begin = max(0, end - p.window);
  for (int key = begin + warp * together; key < end; key += few_warps * together) {
    float s[together];
    float4 v[together][N];
#pragma unroll
    for (int j = 0; j < together; ++j) {
      const int64_t key_row = document.first_key + min(key + j, position);
      s[j] = 0;
#pragma unroll
      for (int n = 0; n < N; ++n) {
        s[j] = dot(s[j], q[n], channels(p.k, key_row, k_column, n));
        v[j][n] = channels(p.v, key_row, k_column, n);
      }
    }
    float next = top;
#pragma unroll
    for (int j = 0; j < together; ++j) {
      s[j] = warp_reduce(s[j], Sum{});
      s[j] = key + j < end ? p.scale * s[j] : -INFINITY;
      next = fmaxf(next, s[j]);
    }
    const float base = next == -INFINITY ? 0 : next;  // scores may have overflowed
    const float correction = expf(top - base);
    top = next;
    sum *= correction;
#pragma unroll
    for (int n = 0; n < N; ++n) acc[n] = scaled_sum(correction, acc[n], {0, 0, 0, 0});
#pragma unroll
    for (int j = 0; j < together; ++j) {
      const float weight = expf(s[j] - base);
      sum += weight;
#pragma unroll
      for (int n = 0; n < N; ++n) acc[n] = scaled_sum(weight, v[j][n], acc[n]);
    }
  }

  if (lane == 0) tops[warp] = top, sums[warp] = sum;
#pragma unroll
  for (int n = 0; n < N; ++n) parts[warp][lane + 32 * n] = acc[n];
  __syncthreads();
  const float all = warp_reduce(tops[lane], Max{});
  const float factor = expf(tops[lane] - (all == -INFINITY ? 0 : all));  // of warp `lane`
  const float total = warp_reduce(factor * sums[lane], Sum{});
  if (threadIdx.x == 0) lse[row * p.heads + task.head] = all + logf(total);
  const int c = static_cast<int>(threadIdx.x);
  if (warp * 32 >= p.head_dim) return;  // the whole warp
  float result = 0;
  for (int w = 0; w < few_warps; ++w) {
    const float part = c < p.head_dim ? reinterpret_cast<const float*>(parts[w])[c] : 0;
    result = fmaf(__shfl_sync(~0u, factor, w), part, result);
  }
  if (c < p.head_dim) store(out, row * out.stride + q_column + c, result / total);
}

}  // namespace

void forward_of_few_queries(const Matrix& out, float* lse, const AttentionProblem& a,
                            cudaStream_t stream) {
  Problem p = prepare(a);
  p.tiles = static_cast<int>(a.longest_queries);
  const int64_t blocks = a.documents * a.heads * a.longest_queries;
  if (blocks == 0) return;
  const Operand to = operand(out, a.head_dim);
  dispatch(a.q.dtype, [&]<typename T>(T) {
    dispatch(a.head_dim <= 128, [&](auto small) {
      dispatch(p.q.by_four && p.k.by_four && p.v.by_four, [&](auto aligned) {
        few_queries_kernel<T, small ? 1 : 2, aligned>
            <<<static_cast<unsigned>(blocks), few_threads, 0, stream>>>(p, to, lse);
      });
    });
  });
}

}  // namespace nibble::cuda::attention
