// Gradients of attention on tensor cores; the formulas and the division of the work are those of
// attention_backward.cu. Scores, probabilities and sums are float32; p and ds are rounded to the
// elements' type where they are factors.
#include "ops/cuda/kernels/attention_mma.cuh"

namespace nibble::cuda::attention {
namespace {

// ---- dq: a block owns 128 queries; keys pass by

template <int D>
struct DqTiles {
  static constexpr int keys = 64, stages = 2, step = 32;
  static constexpr int elements = keys * mma_pitch<D>;  // of one of k and v
  static constexpr int bytes = stages * 2 * elements * 2;
};

template <typename T, int D>
__global__ __launch_bounds__(mma_threads, 1) void dq_kernel(Problem p, Operand dq, Operand dout,
                                                            const float* lse, const float* delta) {
  using Tiles = DqTiles<D>;
  T* tiles = reinterpret_cast<T*>(shared_memory);
  const Task task(p.heads, p.tiles);
  const Document document(p, task.document);
  const int begin = task.tile * owned_rows;
  if (begin >= document.queries) return;
  const int rows = min(owned_rows, document.queries - begin);
  const int64_t first_row = document.first_query + begin;
  const int64_t q_column = static_cast<int64_t>(task.head) * p.head_dim;
  const int64_t k_column = static_cast<int64_t>(task.head / p.group) * p.head_dim;

  // q and dout pass through the memory of the keys' tiles into registers.
  uint32_t q_left[D / 16][4], dout_left[D / 16][4];
  T* dout_tile = tiles + owned_rows * mma_pitch<D>;
  static_assert(2 * owned_rows * mma_pitch<D> <= Tiles::stages * 2 * Tiles::elements);
  copy_tile<owned_rows, D>(tiles, p.q, first_row, q_column, rows, p.head_dim);
  copy_tile<owned_rows, D>(dout_tile, dout, first_row, q_column, rows, p.head_dim);
  commit_copies();
  float row_lse[2], row_delta[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = warp() * warp_rows + value_row(2 * half);
    const int64_t at = (first_row + row) * p.heads + task.head;
    row_lse[half] = row < rows ? lse[at] : 0;
    row_delta[half] = row < rows ? delta[at] : 0;
  }
  wait_for_copies<0>();
  __syncthreads();
  load_all_left<T, D>(q_left, tiles);
  load_all_left<T, D>(dout_left, dout_tile);
  __syncthreads();

  const int position = document.position(begin);
  const int key_begin = max(0, position - p.window + 1), key_end = position + rows;
  const int warp_position = position + warp() * warp_rows;  // of the warp's first query
  const TileCopy<Tiles::keys, D, T> copy_k(p.k, document.first_key, k_column, p.head_dim);
  const TileCopy<Tiles::keys, D, T> copy_v(p.v, document.first_key, k_column, p.head_dim);
  const auto copy_keys = [&](int key, int stage) {
    if (key < key_end) {
      T* tile = tiles + stage * 2 * Tiles::elements;
      const int valid = min(Tiles::keys, key_end - key);
      copy_k(tile, key, valid);
      copy_v(tile + Tiles::elements, key, valid);
    }
    commit_copies();
  };

  float acc[D / 8][4] = {};
  copy_keys(key_begin, 0);
  int stage = 0;
  for (int key = key_begin; key < key_end; key += Tiles::keys, stage ^= 1) {
    copy_keys(key + Tiles::keys, stage ^ 1);
    wait_for_copies<1>();
    __syncthreads();
    const T* k_tile = tiles + stage * 2 * Tiles::elements;
    const T* v_tile = k_tile + Tiles::elements;
#pragma unroll 1
    for (int j = 0; j < Tiles::keys; j += Tiles::step) {
      const int first = key + j, last = first + Tiles::step - 1;
      if (first > warp_position + warp_rows - 1 || warp_position - last >= p.window) continue;
      const bool masked = last > warp_position || warp_position + warp_rows - 1 - first >= p.window;
      float s[Tiles::step / 8][4], dp[Tiles::step / 8][4];
      scores<T, D>(
          s,
          [&](uint32_t(&a)[4], int k) {
            for (int i = 0; i < 4; ++i) a[i] = q_left[k][i];
          },
          k_tile, j);
      scores<T, D>(
          dp,
          [&](uint32_t(&a)[4], int k) {
            for (int i = 0; i < 4; ++i) a[i] = dout_left[k][i];
          },
          v_tile, j);
      if (masked) mask<false>(s, first, warp_position, p.window);
#pragma unroll
      for (int n = 0; n < Tiles::step / 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float weight = fast_exp2(log2_e * (p.scale * s[n][i] - row_lse[i / 2]));
          s[n][i] = weight * (dp[n][i] - row_delta[i / 2]);
        }
      accumulate<T, D>(acc, s, k_tile, j);
    }
    __syncthreads();
  }
  store_rows<T, D>(dq, first_row, q_column, rows, p.head_dim, acc, p.scale);
}

// ---- dk, dv: a block owns 128 keys; the queries of all heads that share them pass by

template <int D>
struct DkvTiles {
  static constexpr int queries = 32, stages = 3;
  static constexpr int elements = queries * mma_pitch<D>;                 // of one of q and dout
  static constexpr int stage_bytes = 2 * elements * 2 + 2 * queries * 4;  // and lse, delta
  static constexpr int v_bytes = owned_rows * mma_pitch<D> * 2;
  static constexpr int bytes = v_bytes + stages * stage_bytes;
};

template <typename T, int D>
__global__ __launch_bounds__(mma_threads, 1) void dkv_kernel(Problem p, Operand dk, Operand dv,
                                                             Operand dout, const float* lse,
                                                             const float* delta) {
  using Tiles = DkvTiles<D>;
  auto* memory = reinterpret_cast<unsigned char*>(shared_memory);
  T* v_tile = reinterpret_cast<T*>(memory);
  unsigned char* stages = memory + Tiles::v_bytes;
  const Task task(p.heads / p.group, p.tiles);
  const Document document(p, task.document);
  const int begin = task.tile * owned_rows;
  if (begin >= document.keys) return;
  const int keys = min(owned_rows, document.keys - begin);
  const int64_t key_row = document.first_key + begin;
  const int64_t k_column = static_cast<int64_t>(task.head) * p.head_dim;

  // k passes through the stages' memory into registers; v stays.
  uint32_t k_left[D / 16][4];
  static_assert(Tiles::v_bytes <= Tiles::stages * Tiles::stage_bytes);
  copy_tile<owned_rows, D>(reinterpret_cast<T*>(stages), p.k, key_row, k_column, keys, p.head_dim);
  copy_tile<owned_rows, D>(v_tile, p.v, key_row, k_column, keys, p.head_dim);
  commit_copies();
  wait_for_copies<0>();
  __syncthreads();
  load_all_left<T, D>(k_left, reinterpret_cast<const T*>(stages));
  __syncthreads();

  // The queries that see a key of the block, in tiles; one head after the other.
  const int shift = document.position(0);
  const int query_begin = max(0, begin - shift);
  const int query_end = p.window == INT_MAX
                            ? document.queries
                            : min(document.queries, begin + keys - 1 + p.window - shift);
  const int tiles_of_head = max(0, (query_end - query_begin + Tiles::queries - 1) / Tiles::queries);
  const int count = tiles_of_head * p.group;
  const int first_head = task.head * p.group;
  const int64_t first_column = static_cast<int64_t>(first_head) * p.head_dim;
  const TileCopy<Tiles::queries, D, T> copy_q(p.q, document.first_query, first_column, p.head_dim);
  const TileCopy<Tiles::queries, D, T> copy_dout(dout, document.first_query, first_column,
                                                 p.head_dim);
  int copied = 0, copied_head = 0, copied_query = query_begin, copied_stage = 0;
  const auto copy_queries = [&] {
    if (copied < count) {
      T* tile = reinterpret_cast<T*>(stages + copied_stage * Tiles::stage_bytes);
      const int valid = min(Tiles::queries, query_end - copied_query);
      copy_q(tile, copied_query, valid, copied_head * p.head_dim);
      copy_dout(tile + Tiles::elements, copied_query, valid, copied_head * p.head_dim);
      if (warp() < 2) {
        const bool inside = lane() < valid;
        const int64_t at =
            static_cast<int64_t>(document.first_query + copied_query + lane()) * p.heads +
            first_head + copied_head;
        copy_word(reinterpret_cast<float*>(tile + 2 * Tiles::elements) + threadIdx.x,
                  warp() == 0 ? lse + at : delta + at, inside);
      }
      ++copied;
      copied_stage = copied_stage + 1 == Tiles::stages ? 0 : copied_stage + 1;
      copied_query += Tiles::queries;
      if (copied_query >= query_end) copied_query = query_begin, ++copied_head;
    }
    commit_copies();
  };

  float dk_acc[D / 8][4] = {}, dv_acc[D / 8][4] = {};
  const int warp_key = begin + warp() * warp_rows;
  for (int i = 0; i < Tiles::stages - 1; ++i) copy_queries();
  int query = query_begin - Tiles::queries, stage = -1;
#pragma unroll 1
  for (int i = 0; i < count; ++i) {
    query = query + Tiles::queries < query_end ? query + Tiles::queries : query_begin;
    stage = stage + 1 == Tiles::stages ? 0 : stage + 1;
    wait_for_copies<Tiles::stages - 2>();
    __syncthreads();
    copy_queries();
    const T* q_tile = reinterpret_cast<const T*>(stages + stage * Tiles::stage_bytes);
    const T* dout_tile = q_tile + Tiles::elements;
    const auto* row_lse = reinterpret_cast<const float*>(q_tile + 2 * Tiles::elements);
    const float* row_delta = row_lse + Tiles::queries;
    const int first = shift + query;  // position
    const int last = first + Tiles::queries - 1;
    if (warp_key > last || first - (warp_key + warp_rows - 1) >= p.window) continue;
    const bool masked = warp_key + warp_rows - 1 > first || last - warp_key >= p.window;

    float s[Tiles::queries / 8][4], dp[Tiles::queries / 8][4];
    scores<T, D>(
        s,
        [&](uint32_t(&a)[4], int k) {
          for (int r = 0; r < 4; ++r) a[r] = k_left[k][r];
        },
        q_tile, 0);
    if (masked) mask<true>(s, warp_key, first, p.window);
#pragma unroll
    for (int n = 0; n < Tiles::queries / 8; ++n)
#pragma unroll
      for (int r = 0; r < 4; ++r)
        s[n][r] = fast_exp2(log2_e * (p.scale * s[n][r] - row_lse[8 * n + value_column(r)]));
    accumulate<T, D>(dv_acc, s, dout_tile, 0);
    scores<T, D>(
        dp, [&](uint32_t(&a)[4], int k) { load_left<D>(a, v_tile, warp() * warp_rows, 16 * k); },
        dout_tile, 0);
#pragma unroll
    for (int n = 0; n < Tiles::queries / 8; ++n)
#pragma unroll
      for (int r = 0; r < 4; ++r) s[n][r] *= dp[n][r] - row_delta[8 * n + value_column(r)];
    accumulate<T, D>(dk_acc, s, q_tile, 0);
  }
  store_rows<T, D>(dk, key_row, k_column, keys, p.head_dim, dk_acc, p.scale);
  store_rows<T, D>(dv, key_row, k_column, keys, p.head_dim, dv_acc, 1.0f);
}

}  // namespace

void backward_on_tensor_cores(const Matrix& dq, const Matrix& dk, const Matrix& dv,
                              const Matrix& dout, const float* lse, const float* delta,
                              const AttentionProblem& a, cudaStream_t stream) {
  const Operand dout_operand = operand(dout, a.head_dim);
  for_tensor_cores(a, [&](auto element, auto d) {
    using T = decltype(element);
    constexpr int D = d;
    static_assert(DqTiles<D>::bytes <= shared_limit && DkvTiles<D>::bytes <= shared_limit);
    launch(dq_kernel<T, D>, DqTiles<D>::bytes, prepare(a), a.documents, a.heads, a.longest_queries,
           owned_rows, stream, operand(dq, a.head_dim), dout_operand, lse, delta);
    launch(dkv_kernel<T, D>, DkvTiles<D>::bytes, prepare(a), a.documents, a.kv_heads,
           a.longest_keys, owned_rows, stream, operand(dk, a.head_dim), operand(dv, a.head_dim),
           dout_operand, lse, delta);
  });
}

}  // namespace nibble::cuda::attention
