// 4-bit blocks and 8-bit scales; quant/block_quant.h and quant/double_quant.h are the definition,
// bit for bit. Products and sums that round separately there are intrinsics here.
#include <cmath>

#include "ops/cuda/kernels/dynamic_code.cuh"
#include "ops/cuda/kernels/four_bit.cuh"
#include "ops/cuda/kernels/reduce.cuh"
#include "ops/cuda/kernels/tiling.cuh"

namespace nibble::cuda {
namespace {

constexpr int threads = 256;

// ---- numbers to codes

struct Levels {
  float thresholds[15];  // infinite beyond the last
  uint64_t codes;        // four bits for each level
  bool sign_bit;
};

__device__ uint32_t code_of(const Levels& levels, float x) {
  const float value = levels.sign_bit ? fabsf(x) : x;
  int level = 0;
#pragma unroll
  for (int t = 0; t < 15; ++t) level += value > levels.thresholds[t] ? 1 : 0;
  const auto code = static_cast<uint32_t>(levels.codes >> 4 * level) & 15u;
  return levels.sign_bit && x < 0 ? code | 8u : code;
}

// `lanes` neighbours quantize a block together, each of them every lanes-th chunk of it.
template <typename T, bool vector>
__global__ void __launch_bounds__(threads)
    quantize_kernel(uint8_t* codes, float* absmax, const T* x, int64_t n, int block_size, int lanes,
                    const __grid_constant__ Levels levels) {
  const int64_t thread = int64_t{blockIdx.x} * threads + threadIdx.x;
  const int lane = static_cast<int>(threadIdx.x) & (lanes - 1);
  const int64_t block = thread / lanes;
  const int64_t begin = block * block_size;
  const int64_t end = min(n, begin + block_size);

  float largest = 0;
  for (int64_t i = begin + lane * chunk_size; i < end; i += lanes * chunk_size) {
    const Chunk<T> chunk = load_chunk<vector>(x + i, end - i);
    for (int j = 0; j < chunk_size; ++j) largest = fmaxf(largest, fabsf(chunk[j]));
  }
  largest = warp_reduce(largest, Max{}, lanes);
  if (begin < n && lane == 0) absmax[block] = largest;

  const float inverse = 1.0f / largest;
  for (int64_t i = begin + lane * chunk_size; i < end; i += lanes * chunk_size) {
    const Chunk<T> chunk = load_chunk<vector>(x + i, end - i);
    uint32_t packed = 0;
    for (int j = 0; j < chunk_size; ++j)
      packed |= code_of(levels, chunk[j] * inverse) << (4 * (j ^ 1));
    if constexpr (vector) {
      *reinterpret_cast<uint32_t*>(codes + i / 2) = packed;
    } else {
      for (int j = 0; j < chunk_size; j += 2)
        if (i + j < end) codes[(i + j) / 2] = static_cast<uint8_t>(packed >> 4 * j);
    }
  }
}

// ---- scales to codes

__global__ void block_sums_kernel(double* sums, const float* x, int64_t n) {
  const int64_t block = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t begin = block * nested_block, end = min(n, begin + nested_block);
  if (begin >= n) return;
  double sum = 0;
#pragma unroll 8
  for (int64_t i = begin; i < end; ++i) sum += static_cast<double>(x[i]);
  sums[block] = sum;
}

__global__ void __launch_bounds__(threads)
    mean_kernel(float* mean, const double* sums, int64_t count, int64_t n) {
  __shared__ double staged[threads];
  double sum = 0;
  for (int64_t begin = 0; begin < count; begin += threads) {
    const int part = static_cast<int>(min(int64_t{threads}, count - begin));
    if (threadIdx.x < part) staged[threadIdx.x] = sums[begin + threadIdx.x];
    __syncthreads();
    if (threadIdx.x == 0)
#pragma unroll 8
      for (int i = 0; i < part; ++i) sum += staged[i];
    __syncthreads();
  }
  if (threadIdx.x == 0) *mean = static_cast<float>(sum / static_cast<double>(n));
}

__global__ void __launch_bounds__(nested_block)
    quantize_scales_kernel(uint8_t* codes, float* nested_absmax, float* absmax, int64_t n,
                           const float* offset, const float* nested_map) {
  __shared__ float map[256];
  map[threadIdx.x] = nested_map[threadIdx.x];
  const int64_t i = int64_t{blockIdx.x} * nested_block + threadIdx.x;
  const float difference = i < n ? __fsub_rn(absmax[i], *offset) : 0;
  const float largest = block_reduce(fabsf(difference), Max{}, 0.0f);  // waits for the map, too
  if (threadIdx.x == 0) nested_absmax[blockIdx.x] = largest;
  if (i >= n) return;
  absmax[i] = difference;
  codes[i] = static_cast<uint8_t>(dynamic_code(map, __fmul_rn(difference, 1.0f / largest)));
}

// ---- codes to numbers

// Chunks within rows: 32 bits of codes of one block. Lane k holds the value of code k % 16, and
// lanes read from each other, without the bank conflicts that a table in shared memory has.
template <typename Y, typename Source, bool nested>
__global__ void __launch_bounds__(Tiling::block_size)
    dequantize_kernel(Tiling tiling, Y* y, int64_t stride, int64_t cols, FourBitMatrix q,
                      int log_block_size) {
  constexpr int unroll = 4;
  const float code_value = q.code_map[threadIdx.x % 16];
  const float offset = nested ? *q.offset : 0;
  const uint32_t row = tiling.row(), first = tiling.first_chunk(unroll);
  const uint32_t width = tiling.width();
  const uint32_t end = row < tiling.rows ? tiling.chunks : 0;  // all threads take part below
  const uint64_t element = uint64_t{row} * cols + uint64_t{first} * chunk_size;
  const auto* chunk_codes = reinterpret_cast<const uint32_t*>(q.codes) + element / chunk_size;
  y += row * stride + int64_t{first} * chunk_size;

  uint32_t codes[unroll] = {};
  Scale<nested> scales[unroll] = {};
#pragma unroll
  for (int u = 0; u < unroll; ++u) {
    if (first + u * width >= end) continue;
    codes[u] = chunk_codes[u * width];
    scales[u].load(q, (element + u * width * chunk_size) >> log_block_size);
  }
  float scale[unroll];
#pragma unroll
  for (int u = 0; u < unroll; ++u) scale[u] = scales[u].value(q, offset);
#pragma unroll
  for (int u = 0; u < unroll; ++u) {
    float v[chunk_size];
#pragma unroll
    for (int j = 0; j < chunk_size; ++j) {
      // The lane is taken modulo 32: bit 4, of another code, does no harm.
      const auto lane = static_cast<int>(codes[u] >> (4 * (j ^ 1)));
      v[j] = decoded<Y, Source>(__shfl_sync(0xffffffffu, code_value, lane), scale[u]);
    }
    if (first + u * width < end) store_chunk<true>(y + u * width * chunk_size, v, chunk_size);
  }
}

// Any number of columns, one element a thread.
template <typename Y, typename Source, bool nested>
__global__ void __launch_bounds__(Tiling::block_size)
    dequantize_elements_kernel(Tiling tiling, Y* y, int64_t stride, int64_t cols, FourBitMatrix q,
                               int log_block_size) {
  const uint32_t row = tiling.row(), col = tiling.first_chunk(1);
  if (row >= tiling.rows || col >= cols) return;
  const uint64_t i = uint64_t{row} * cols + col;
  const int code = i % 2 == 0 ? q.codes[i / 2] >> 4 : q.codes[i / 2] & 15;
  Scale<nested> scale;
  scale.load(q, i >> log_block_size);
  const float value = decoded<Y, Source>(q.code_map[code], scale.value(q, nested ? *q.offset : 0));
  y[row * stride + col] = round_to<Y>(value);
}

}  // namespace

void quantize_blocks(uint8_t* codes, float* absmax, const void* x, DType x_type, int64_t n,
                     int block_size, const FourBitLevels& levels, cudaStream_t stream) {
  if (n <= 0) return;
  Levels packed{};
  packed.sign_bit = levels.sign_bit;
  for (int i = 0; i < 15; ++i)
    packed.thresholds[i] = i < levels.count ? levels.thresholds[i] : INFINITY;
  for (int i = 0; i <= levels.count; ++i) packed.codes |= uint64_t{levels.codes[i]} << 4 * i;
  const int lanes = block_size / chunk_size < 32 ? block_size / chunk_size : 32;
  const auto blocks =
      static_cast<unsigned>(ceil_div(ceil_div(n, block_size) * lanes, int64_t{threads}));
  const bool in_chunks = n % chunk_size == 0 && aligned(x) && aligned(codes);
  dispatch(x_type, [&]<typename T>(T) {
    dispatch(in_chunks, [&](auto vector) {
      quantize_kernel<T, vector><<<blocks, threads, 0, stream>>>(
          codes, absmax, static_cast<const T*>(x), n, block_size, lanes, packed);
    });
  });
}

void scale_offset(float* offset, double* partial, const float* absmax, int64_t n,
                  cudaStream_t stream) {
  if (n <= 0) return;
  constexpr int few = 32;  // threads that read far apart: better on many multiprocessors
  const int64_t count = ceil_div(n, nested_block);
  block_sums_kernel<<<static_cast<unsigned>(ceil_div(count, few)), few, 0, stream>>>(partial,
                                                                                     absmax, n);
  mean_kernel<<<1, threads, 0, stream>>>(offset, partial, count, n);
}

void quantize_scales(uint8_t* scale_codes, float* nested_absmax, float* absmax, int64_t n,
                     const float* offset, const float* nested_map, cudaStream_t stream) {
  if (n <= 0) return;
  quantize_scales_kernel<<<static_cast<unsigned>(ceil_div(n, nested_block)), nested_block, 0,
                           stream>>>(scale_codes, nested_absmax, absmax, n, offset, nested_map);
}

void dequantize(Matrix y, const FourBitMatrix& q, cudaStream_t stream) {
  const bool fast = in_chunks(y) && reinterpret_cast<uintptr_t>(q.codes) % 4 == 0;
  const Tiling tiling(y.rows, y.cols, fast ? 4 : 1, fast ? chunk_size : 1);
  if (tiling.empty()) return;
  const int log_block_size = __builtin_ctz(static_cast<unsigned>(q.block_size));
  dispatch(y.dtype, [&]<typename Y>(Y) {
    dispatch(q.source, [&]<typename Source>(Source) {
      dispatch(q.absmax == nullptr, [&](auto nested) {
        const auto kernel = fast ? dequantize_kernel<Y, Source, nested>
                                 : dequantize_elements_kernel<Y, Source, nested>;
        kernel<<<tiling.blocks(), Tiling::block_size, 0, stream>>>(tiling, data_of<Y>(y), y.stride,
                                                                   y.cols, q, log_block_size);
      });
    });
  });
}

}  // namespace nibble::cuda
