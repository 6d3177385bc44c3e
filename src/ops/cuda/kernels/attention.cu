// Causal softmax attention within documents, for every dtype and head dimensions up to 256 (Dao
// 2023, algorithm 1): tiles in shared memory, arithmetic in float32 on CUDA cores. A block computes
// one tile of queries. Where the type and shape permit, attention_mma_forward.cu computes the same
// on tensor cores; attention_few.cu computes few queries.
#include <algorithm>

#include "ops/cuda/kernels/attention_problem.cuh"

namespace nibble::cuda {
namespace {

using namespace attention;

template <int D, int R, int S>
__global__ __launch_bounds__(block_threads, 2) void forward_kernel(Problem p, Operand out,
                                                                   float* lse) {
  constexpr int rows_of_tile = side * R, keys_of_tile = side * S;
  float* q_tile = reinterpret_cast<float*>(shared_memory);
  float* x_tile = q_tile + rows_of_tile * pitch<D>;
  float* p_tile = x_tile + keys_of_tile * pitch<D>;
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

  float acc[R][Channels<D>::count] = {};
  float top[R], sum[R];  // of each row; the sum is the thread's share
#pragma unroll
  for (int i = 0; i < R; ++i) top[i] = -INFINITY, sum[i] = 0;

  const int position = document.position(begin);
  const int key_end = position + rows;
  for (int key = max(0, position - p.window + 1); key < key_end; key += keys_of_tile) {
    const int64_t key_row = document.first_key + key;
    const int keys = min(keys_of_tile, key_end - key);
    __syncthreads();
    load_tile<keys_of_tile, D>(x_tile, p.k, key_row, k_column, keys, p.head_dim);
    __syncthreads();
    float s[R][S];
    multiply<D>(s, q_tile, x_tile);
#pragma unroll
    for (int i = 0; i < R; ++i) {
      float next = top[i];
#pragma unroll
      for (int j = 0; j < S; ++j) {
        s[i][j] = visible(key + tx + side * j, position + ty + side * i, p.window)
                      ? p.scale * s[i][j]
                      : -INFINITY;
        next = fmaxf(next, s[i][j]);
      }
      next = row_max(next);
      const float base = next == -INFINITY ? 0 : next;  // nothing seen yet
      const float correction = expf(top[i] - base);
      top[i] = next;
      sum[i] *= correction;
#pragma unroll
      for (int j = 0; j < S; ++j) {
        s[i][j] = expf(s[i][j] - base);
        sum[i] += s[i][j];
      }
#pragma unroll
      for (int c = 0; c < Channels<D>::count; ++c) acc[i][c] *= correction;
    }
    store_weights(p_tile, s);
    __syncthreads();
    load_tile<keys_of_tile, D>(x_tile, p.v, key_row, k_column, keys, p.head_dim);
    __syncthreads();
    multiply_add<D, R, S>(acc, p_tile, x_tile);
  }

#pragma unroll
  for (int i = 0; i < R; ++i) {
    const float total = row_sum(sum[i]);
    const int row = ty + side * i;
    if (tx == 0 && row < rows) lse[(first_row + row) * p.heads + task.head] = top[i] + logf(total);
#pragma unroll
    for (int c = 0; c < Channels<D>::count; ++c) acc[i][c] /= total;
  }
  store_tile<D>(out, first_row, q_column, rows, p.head_dim, acc, 1.0f);
}

template <int D, int R, int S>
void run_forward(const AttentionProblem& a, const Matrix& out, float* lse, cudaStream_t stream) {
  launch(forward_kernel<D, R, S>, shared_bytes<D, R, S>(1), prepare(a), a.documents, a.heads,
         a.longest_queries, side * R, stream, operand(out, a.head_dim), lse);
}

// Rows of whole 16-byte chunks.
bool in_chunks_of_eight(const Matrix& x) {
  return x.stride % 8 == 0 && reinterpret_cast<uintptr_t>(x.data) % 16 == 0;
}

}  // namespace

bool attention::fits_tensor_cores(const AttentionProblem& a,
                                  std::initializer_list<Matrix> operands) {
  return a.q.dtype != DType::f32 && a.head_dim % 8 == 0 && a.head_dim <= 128 &&
         std::all_of(operands.begin(), operands.end(), in_chunks_of_eight);
}

void attention_forward(Matrix out, float* lse, const AttentionProblem& problem,
                       cudaStream_t stream) {
  if (problem.longest_queries <= most_few_queries)
    return forward_of_few_queries(out, lse, problem, stream);
  if (fits_tensor_cores(problem, {problem.q, problem.k, problem.v, out}))
    return forward_on_tensor_cores(out, lse, problem, stream);
  for_head_dim(problem.head_dim, [&](auto d) {
    constexpr int D = d, R = D <= 128 ? 4 : 2, S = R;
    run_forward<D, R, S>(problem, out, lse, stream);
  });
}

}  // namespace nibble::cuda
