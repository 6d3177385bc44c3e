// Head and loss: which rows are trained, their softmax tile by tile, its loss and gradient, and the
// sum.
#include <cmath>

#include "ops/cuda/kernels/elements.cuh"
#include "ops/cuda/kernels/reduce.cuh"

namespace nibble::cuda {
namespace {

constexpr int threads = 1024;
constexpr int row_threads = 512;  // of a row of a tile

// ---- rows with a label

__global__ void __launch_bounds__(threads)
    trained_rows_kernel(int32_t* rows, int32_t* targets, const int32_t* labels, int64_t tokens,
                        int64_t trained) {
  __shared__ int counts[threads / 32];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  int64_t before = 0;  // labels in earlier rounds
  for (int64_t begin = 0; begin < tokens; begin += threads) {
    const int64_t token = begin + threadIdx.x;
    const int32_t label = token < tokens ? labels[token] : -1;
    const unsigned mask = __ballot_sync(0xffffffffu, label >= 0);
    if (lane == 0) counts[warp] = __popc(mask);
    __syncthreads();
    const int count = counts[lane];
    const int earlier_warps = warp_reduce(lane < warp ? count : 0, Sum{});
    const int64_t k = before + earlier_warps + __popc(mask & ((1u << lane) - 1));
    if (label >= 0 && k < trained) {
      rows[k] = static_cast<int32_t>(token);
      targets[k] = label;
    }
    before += warp_reduce(count, Sum{});
    __syncthreads();  // counts are read
  }
}

// ---- loss and gradient

// The sum of exp(x - max) over some x; its largest may be minus infinity.
struct Part {
  float max = -INFINITY, sum = 0;
  __device__ float shift() const { return max == -INFINITY ? 0 : max; }
};

__device__ Part merge(Part a, Part b) {
  Part both;
  both.max = fmaxf(a.max, b.max);
  both.sum = a.sum * expf(a.max - both.shift()) + b.sum * expf(b.max - both.shift());
  return both;
}

// Only lane 0's result is of use: merge() is not symmetric in its last bits.
__device__ Part merge_lanes(Part x) {
  for (int offset = 16; offset > 0; offset /= 2)
    x = merge(x, {__shfl_down_sync(0xffffffffu, x.max, offset),
                  __shfl_down_sync(0xffffffffu, x.sum, offset)});
  return x;
}

__device__ Part merge_block(Part x) {
  __shared__ float maxima[32], sums[32];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  x = merge_lanes(x);
  if (lane == 0) maxima[warp] = x.max, sums[warp] = x.sum;
  __syncthreads();
  if (warp == 0) {
    x = merge_lanes(lane < row_threads / 32 ? Part{maxima[lane], sums[lane]} : Part{});
    if (lane == 0) maxima[0] = x.max, sums[0] = x.sum;
  }
  __syncthreads();
  return {maxima[0], sums[0]};
}

// One block a row, here and below.
template <bool vector>
__global__ void __launch_bounds__(row_threads)
    add_to_softmax_kernel(Softmax* softmax, const float* logits, const int32_t* targets,
                          int64_t cols, int64_t first) {
  const float* row = logits + int64_t{blockIdx.x} * cols;
  const int chunks = static_cast<int>(ceil_div(cols, chunk_size));
  Part part;
#pragma unroll 2
  for (int chunk = static_cast<int>(threadIdx.x); chunk < chunks; chunk += row_threads) {
    const int64_t begin = int64_t{chunk} * chunk_size;
    const Chunk<float> x = load_chunk<vector>(row + begin, cols - begin);
    const auto exists = [&](int i) { return vector || begin + i < cols; };
    Part next;
    next.max = part.max;
    for (int i = 0; i < chunk_size; ++i)
      if (exists(i)) next.max = fmaxf(next.max, x[i]);
    next.sum = part.sum * expf(part.max - next.shift());
    for (int i = 0; i < chunk_size; ++i)
      if (exists(i)) next.sum += expf(x[i] - next.shift());
    part = next;
  }
  part = merge_block(part);
  if (threadIdx.x != 0) return;
  Softmax& mine = softmax[blockIdx.x];
  if (first > 0) part = merge({mine.max, mine.sum}, part);
  mine.max = part.max;
  mine.sum = part.sum;
  const int64_t target = targets[blockIdx.x] - first;
  if (target >= 0 && target < cols) mine.target = row[target];
}

__global__ void softmax_losses_kernel(float* losses, const Softmax* softmax, int64_t rows) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < rows) losses[i] = logf(softmax[i].sum) - (softmax[i].target - softmax[i].max);
}

// The gradient lies where the logits lay. In 16 bits, round k writes bytes that were read in round
// k / 2: all threads must be through with that. So they wait after reading in rounds 0, 2, 6, 14,
// ..., each of which is enough for rounds up to twice its number, plus one.
template <typename T, bool vector>
__global__ void __launch_bounds__(row_threads)
    softmax_gradient_kernel(float* logits, const Softmax* softmax, const int32_t* targets,
                            int64_t cols, int64_t first, const float* gradient_scale) {
  float* row = logits + int64_t{blockIdx.x} * cols;
  T* gradients = reinterpret_cast<T*>(row);
  const int64_t target = targets[blockIdx.x] - first;
  const int chunks = static_cast<int>(ceil_div(cols, chunk_size));
  const float gradient = *gradient_scale;
  const float max = softmax[blockIdx.x].max, scale = gradient / softmax[blockIdx.x].sum;
  for (int round = 0; round * row_threads < chunks; ++round) {
    const int chunk = round * row_threads + static_cast<int>(threadIdx.x);
    const int64_t begin = int64_t{chunk} * chunk_size;
    Chunk<float> x;
    if (chunk < chunks) x = load_chunk<vector>(row + begin, cols - begin);
    if (sizeof(T) < sizeof(float) && ((round + 2) & (round + 1)) == 0) __syncthreads();
    if (chunk >= chunks) continue;
    float d[chunk_size];
    for (int i = 0; i < chunk_size; ++i) {
      d[i] = expf(x[i] - max) * scale;
      if (begin + i == target) d[i] -= gradient;
    }
    store_chunk<vector>(gradients + begin, d, cols - begin);
  }
}

__global__ void __launch_bounds__(threads) add_sum_kernel(float* y, const float* x, int64_t n) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += threads) sum += static_cast<double>(x[i]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) *y = static_cast<float>(static_cast<double>(*y) + sum);
}

}  // namespace

void trained_rows(int32_t* rows, int32_t* targets, const int32_t* labels, int64_t tokens,
                  int64_t trained, cudaStream_t stream) {
  if (tokens <= 0 || trained <= 0) return;
  trained_rows_kernel<<<1, threads, 0, stream>>>(rows, targets, labels, tokens, trained);
}

void add_to_softmax(Softmax* softmax, const LogitsTile& tile, const int32_t* targets,
                    cudaStream_t stream) {
  if (tile.rows <= 0 || tile.cols <= 0) return;
  dispatch(aligned(tile.data) && tile.cols % chunk_size == 0, [&](auto vector) {
    add_to_softmax_kernel<vector><<<static_cast<unsigned>(tile.rows), row_threads, 0, stream>>>(
        softmax, tile.data, targets, tile.cols, tile.first);
  });
}

void softmax_losses(float* losses, const Softmax* softmax, int64_t rows, cudaStream_t stream) {
  if (rows <= 0) return;
  softmax_losses_kernel<<<static_cast<unsigned>(ceil_div(rows, 256)), 256, 0, stream>>>(
      losses, softmax, rows);
}

void softmax_gradient(const LogitsTile& tile, const Softmax* softmax, const int32_t* targets,
                      const float* gradient, DType gradient_type, cudaStream_t stream) {
  if (tile.rows <= 0 || tile.cols <= 0) return;
  dispatch(gradient_type, [&]<typename T>(T) {
    dispatch(aligned(tile.data) && tile.cols % chunk_size == 0, [&](auto vector) {
      softmax_gradient_kernel<T, vector>
          <<<static_cast<unsigned>(tile.rows), row_threads, 0, stream>>>(
              tile.data, softmax, targets, tile.cols, tile.first, gradient);
    });
  });
}

void add_sum(float* y, const float* x, int64_t n, cudaStream_t stream) {
  if (n <= 0) return;
  add_sum_kernel<<<1, threads, 0, stream>>>(y, x, n);
}

}  // namespace nibble::cuda
