// Gradients of attention (Dao 2023, algorithm 2), as attention.cu computes it; where the type and
// shape permit, attention_mma_backward.cu computes the same on tensor cores. A block computes one
// tile of rows: of queries for dq; of keys for dk and dv, where it goes through the query heads
// that share the keys. So no two blocks write the same numbers, and every sum has a fixed order.
#include "ops/cuda/kernels/attention_problem.cuh"

namespace nibble::cuda {
namespace {

using namespace attention;

// Rows per thread of the tile that a block owns (R), and of those that pass by (S).
template <int D>
struct BackwardTiles {
  static constexpr int R = D <= 128 ? 4 : 2, S = D <= 64 ? 4 : D <= 128 ? 2 : 1;
};

// delta[row][head] = sum over channels of dout * out; a warp each.
__global__ void delta_kernel(float* delta, Operand dout, Operand out, int64_t count, int heads,
                             int head_dim) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / warpSize;
  if (i >= count) return;
  const int64_t row = i / heads, column = i % heads * head_dim;
  const int64_t a = row * dout.stride + column, b = row * out.stride + column;
  const int lane = static_cast<int>(threadIdx.x) % warpSize;
  float sum = 0;
  if (dout.by_four && out.by_four) {
    for (int c = 4 * lane; c < head_dim; c += 4 * warpSize)
      sum = dot(sum, load_four(dout, a + c), load_four(out, b + c));
  } else {
    for (int c = lane; c < head_dim; c += warpSize)
      sum = fmaf(load(dout, a + c), load(out, b + c), sum);
  }
  for (int step = warpSize / 2; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
  if (lane == 0) delta[i] = sum;
}

// dq = scale * ds k, ds = p (dout v^T - delta), p = exp(scale * q k^T - lse).
template <int D>
__global__ __launch_bounds__(block_threads, 2) void dq_kernel(Problem p, Operand dq, Operand dout,
                                                              const float* lse,
                                                              const float* delta) {
  constexpr int R = BackwardTiles<D>::R, S = BackwardTiles<D>::S;
  constexpr int rows_of_tile = side * R, keys_of_tile = side * S;
  float* q_tile = reinterpret_cast<float*>(shared_memory);
  float* dout_tile = q_tile + rows_of_tile * pitch<D>;
  float* x_tile = dout_tile + rows_of_tile * pitch<D>;
  float* ds_tile = x_tile + keys_of_tile * pitch<D>;
  const int ty = static_cast<int>(threadIdx.x) / side, tx = static_cast<int>(threadIdx.x) % side;

  const Task task(p.heads, p.tiles);
  const Document document(p, task.document);
  const int begin = task.tile * rows_of_tile;
  if (begin >= document.queries) return;
  const int rows = min(rows_of_tile, document.queries - begin);
  const int64_t first_row = document.first_query + begin;
  const int64_t q_column = static_cast<int64_t>(task.head) * p.head_dim;
  const int64_t k_column = static_cast<int64_t>(task.head / p.group) * p.head_dim;
  load_tile<rows_of_tile, D>(q_tile, p.q, first_row, q_column, rows, p.head_dim);
  load_tile<rows_of_tile, D>(dout_tile, dout, first_row, q_column, rows, p.head_dim);

  float row_lse[R], row_delta[R];
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const int64_t at = (first_row + ty + side * i) * p.heads + task.head;
    const bool valid = ty + side * i < rows;
    row_lse[i] = valid ? lse[at] : 0;
    row_delta[i] = valid ? delta[at] : 0;
  }

  float acc[R][Channels<D>::count] = {};
  const int position = document.position(begin);
  const int key_end = position + rows;
  for (int key = max(0, position - p.window + 1); key < key_end; key += keys_of_tile) {
    const int64_t key_row = document.first_key + key;
    const int keys = min(keys_of_tile, key_end - key);
    __syncthreads();
    load_tile<keys_of_tile, D>(x_tile, p.v, key_row, k_column, keys, p.head_dim);
    __syncthreads();
    float dp[R][S];
    multiply<D>(dp, dout_tile, x_tile);
    __syncthreads();
    load_tile<keys_of_tile, D>(x_tile, p.k, key_row, k_column, keys, p.head_dim);
    __syncthreads();
    float s[R][S];
    multiply<D>(s, q_tile, x_tile);
#pragma unroll
    for (int i = 0; i < R; ++i)
#pragma unroll
      for (int j = 0; j < S; ++j) {
        const int row = ty + side * i;
        const bool seen = row < rows && visible(key + tx + side * j, position + row, p.window);
        s[i][j] = seen ? expf(p.scale * s[i][j] - row_lse[i]) * (dp[i][j] - row_delta[i]) : 0;
      }
    store_weights(ds_tile, s);
    __syncthreads();
    multiply_add<D, R, S>(acc, ds_tile, x_tile);
  }
  store_tile<D>(dq, first_row, q_column, rows, p.head_dim, acc, p.scale);
}

// dv = p^T dout, dk = scale * ds^T q, summed over the query heads that share the keys.
template <int D>
__global__ __launch_bounds__(block_threads, 2) void dkv_kernel(Problem p, Operand dk, Operand dv,
                                                               Operand dout, const float* lse,
                                                               const float* delta) {
  constexpr int R = BackwardTiles<D>::R, S = BackwardTiles<D>::S;
  constexpr int keys_of_tile = side * R, rows_of_tile = side * S;
  float* k_tile = reinterpret_cast<float*>(shared_memory);
  float* v_tile = k_tile + keys_of_tile * pitch<D>;
  float* x_tile = v_tile + keys_of_tile * pitch<D>;
  float* p_tile = x_tile + rows_of_tile * pitch<D>;
  const int ty = static_cast<int>(threadIdx.x) / side, tx = static_cast<int>(threadIdx.x) % side;

  const Task task(p.heads / p.group, p.tiles);
  const Document document(p, task.document);
  const int begin = task.tile * keys_of_tile;
  if (begin >= document.keys) return;
  const int keys = min(keys_of_tile, document.keys - begin);
  const int64_t key_row = document.first_key + begin;
  const int64_t k_column = static_cast<int64_t>(task.head) * p.head_dim;
  load_tile<keys_of_tile, D>(k_tile, p.k, key_row, k_column, keys, p.head_dim);
  load_tile<keys_of_tile, D>(v_tile, p.v, key_row, k_column, keys, p.head_dim);

  // The queries that see a key of the tile.
  const int shift = document.position(0);
  const int query_begin = max(0, begin - shift);
  const int query_end = p.window == INT_MAX
                            ? document.queries
                            : min(document.queries, begin + keys - 1 + p.window - shift);

  float dk_acc[R][Channels<D>::count] = {}, dv_acc[R][Channels<D>::count] = {};
  for (int head = task.head * p.group; head < (task.head + 1) * p.group; ++head) {
    const int64_t q_column = static_cast<int64_t>(head) * p.head_dim;
    for (int query = query_begin; query < query_end; query += rows_of_tile) {
      const int64_t row = document.first_query + query;
      const int rows = min(rows_of_tile, query_end - query);
      __syncthreads();
      load_tile<rows_of_tile, D>(x_tile, p.q, row, q_column, rows, p.head_dim);
      __syncthreads();
      float weights[R][S], row_delta[S];
      multiply<D>(weights, k_tile, x_tile);
#pragma unroll
      for (int j = 0; j < S; ++j) {
        const int column = tx + side * j;
        const bool valid = column < rows;
        const int64_t at = (row + column) * p.heads + head;
        const float row_lse = valid ? lse[at] : 0;
        row_delta[j] = valid ? delta[at] : 0;
#pragma unroll
        for (int i = 0; i < R; ++i) {
          const bool seen =
              valid && visible(begin + ty + side * i, shift + query + column, p.window);
          weights[i][j] = seen ? expf(p.scale * weights[i][j] - row_lse) : 0;
        }
      }
      store_weights(p_tile, weights);
      __syncthreads();
      load_tile<rows_of_tile, D>(x_tile, dout, row, q_column, rows, p.head_dim);
      __syncthreads();
      multiply_add<D, R, S>(dv_acc, p_tile, x_tile);
      float dp[R][S];
      multiply<D>(dp, v_tile, x_tile);
#pragma unroll
      for (int i = 0; i < R; ++i)
#pragma unroll
        for (int j = 0; j < S; ++j) weights[i][j] *= dp[i][j] - row_delta[j];
      __syncthreads();
      store_weights(p_tile, weights);
      load_tile<rows_of_tile, D>(x_tile, p.q, row, q_column, rows, p.head_dim);
      __syncthreads();
      multiply_add<D, R, S>(dk_acc, p_tile, x_tile);
    }
  }
  store_tile<D>(dk, key_row, k_column, keys, p.head_dim, dk_acc, p.scale);
  store_tile<D>(dv, key_row, k_column, keys, p.head_dim, dv_acc, 1.0f);
}

}  // namespace

void attention_backward(Matrix dq, Matrix dk, Matrix dv, Matrix dout, Matrix out, const float* lse,
                        float* delta, const AttentionProblem& problem, cudaStream_t stream) {
  const int64_t d = problem.head_dim;
  const Operand dout_operand = operand(dout, d);
  const int64_t sums = problem.q.rows * problem.heads;
  if (sums > 0)
    delta_kernel<<<static_cast<unsigned>((sums + 7) / 8), 256, 0, stream>>>(
        delta, dout_operand, operand(out, d), sums, static_cast<int>(problem.heads),
        static_cast<int>(d));
  if (fits_tensor_cores(problem, {problem.q, problem.k, problem.v, dq, dk, dv, dout}))
    return backward_on_tensor_cores(dq, dk, dv, dout, lse, delta, problem, stream);
  for_head_dim(d, [&](auto constant) {
    constexpr int D = constant, R = BackwardTiles<D>::R, S = BackwardTiles<D>::S;
    constexpr int bytes = shared_bytes<D, R, S>(2);
    launch(dq_kernel<D>, bytes, prepare(problem), problem.documents, problem.heads,
           problem.longest_queries, side * R, stream, operand(dq, d), dout_operand, lse,
           static_cast<const float*>(delta));
    launch(dkv_kernel<D>, bytes, prepare(problem), problem.documents, problem.kv_heads,
           problem.longest_keys, side * R, stream, operand(dk, d), operand(dv, d), dout_operand,
           lse, static_cast<const float*>(delta));
  });
}

}  // namespace nibble::cuda
