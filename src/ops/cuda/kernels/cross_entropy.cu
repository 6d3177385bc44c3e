// Head and loss: which rows are trained, the loss and gradient of their logits, and the sum.
#include <cmath>

#include "ops/cuda/kernels/elements.cuh"
#include "ops/cuda/kernels/reduce.cuh"

namespace nibble::cuda {
namespace {

constexpr int threads = 1024;

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
struct Softmax {
  float max = -INFINITY, sum = 0;
  __device__ float shift() const { return max == -INFINITY ? 0 : max; }
};

__device__ Softmax merge(Softmax a, Softmax b) {
  Softmax both;
  both.max = fmaxf(a.max, b.max);
  both.sum = a.sum * expf(a.max - both.shift()) + b.sum * expf(b.max - both.shift());
  return both;
}

// Only lane 0's result is of use: merge() is not symmetric in its last bits.
__device__ Softmax merge_lanes(Softmax x) {
  for (int offset = 16; offset > 0; offset /= 2)
    x = merge(x, {__shfl_down_sync(0xffffffffu, x.max, offset),
                  __shfl_down_sync(0xffffffffu, x.sum, offset)});
  return x;
}

__device__ Softmax merge_block(Softmax x) {
  __shared__ float maxima[threads / 32], sums[threads / 32];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  x = merge_lanes(x);
  if (lane == 0) maxima[warp] = x.max, sums[warp] = x.sum;
  __syncthreads();
  if (warp == 0) {
    x = merge_lanes({maxima[lane], sums[lane]});
    if (lane == 0) maxima[0] = x.max, sums[0] = x.sum;
  }
  __syncthreads();
  return {maxima[0], sums[0]};
}

// One block a row. The first pass goes downwards, so that the second, which goes upwards, finds the
// row's beginning in the cache.
//
// The gradient lies where the logits lay. In 16 bits, round k of the second pass writes bytes that
// were read in round k / 2: all threads must be through with that. So they wait after reading in
// rounds 0, 2, 6, 14, ..., each of which is enough for rounds up to twice its number, plus one.
template <typename T, bool vector>
__global__ void __launch_bounds__(threads)
    cross_entropy_kernel(float* losses, float* logits, const int32_t* targets, int64_t vocabulary,
                         float gradient, bool has_gradient) {
  float* row = logits + int64_t{blockIdx.x} * vocabulary;
  T* gradients = reinterpret_cast<T*>(row);
  const int target = targets[blockIdx.x];
  const float target_logit = row[target];  // merge_block() waits before anybody writes
  const int chunks = static_cast<int>(ceil_div(vocabulary, chunk_size));
  const auto load = [&](int chunk) {
    return load_chunk<vector>(row + int64_t{chunk} * chunk_size,
                              vocabulary - int64_t{chunk} * chunk_size);
  };
  const auto exists = [&](int chunk, int i) {
    return vector || int64_t{chunk} * chunk_size + i < vocabulary;
  };

  Softmax softmax;
#pragma unroll 2
  for (int chunk = chunks - 1 - static_cast<int>(threadIdx.x); chunk >= 0; chunk -= threads) {
    const Chunk<float> x = load(chunk);
    Softmax next;
    next.max = softmax.max;
    for (int i = 0; i < chunk_size; ++i)
      if (exists(chunk, i)) next.max = fmaxf(next.max, x[i]);
    next.sum = softmax.sum * expf(softmax.max - next.shift());
    for (int i = 0; i < chunk_size; ++i)
      if (exists(chunk, i)) next.sum += expf(x[i] - next.shift());
    softmax = next;
  }
  softmax = merge_block(softmax);
  if (threadIdx.x == 0) losses[blockIdx.x] = logf(softmax.sum) - (target_logit - softmax.max);
  if (!has_gradient) return;

  const float scale = gradient / softmax.sum;
  for (int round = 0; round * threads < chunks; ++round) {
    const int chunk = round * threads + static_cast<int>(threadIdx.x);
    Chunk<float> x;
    if (chunk < chunks) x = load(chunk);
    if (sizeof(T) < sizeof(float) && ((round + 2) & (round + 1)) == 0) __syncthreads();
    if (chunk >= chunks) continue;
    float d[chunk_size];
    for (int i = 0; i < chunk_size; ++i) {
      d[i] = expf(x[i] - softmax.max) * scale;
      if (chunk * chunk_size + i == target) d[i] -= gradient;
    }
    store_chunk<vector>(gradients + int64_t{chunk} * chunk_size, d,
                        vocabulary - int64_t{chunk} * chunk_size);
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

void cross_entropy(float* losses, float* logits, const int32_t* targets, int64_t rows,
                   int64_t vocabulary, float gradient, bool has_gradient, DType gradient_type,
                   cudaStream_t stream) {
  if (rows <= 0 || vocabulary <= 0) return;
  dispatch(gradient_type, [&]<typename T>(T) {
    dispatch(aligned(logits) && vocabulary % chunk_size == 0, [&](auto vector) {
      cross_entropy_kernel<T, vector><<<static_cast<unsigned>(rows), threads, 0, stream>>>(
          losses, logits, targets, vocabulary, gradient, has_gradient);
    });
  });
}

void add_sum(float* y, const float* x, int64_t n, cudaStream_t stream) {
  if (n <= 0) return;
  add_sum_kernel<<<1, threads, 0, stream>>>(y, x, n);
}

}  // namespace nibble::cuda
