// Gradient norm and the optimizer's updates; ops/cpu/kernels/optimizer.cpp operation by operation,
// each rounded by itself.
#include "ops/cuda/kernels/dynamic_code.cuh"
#include "ops/cuda/kernels/reduce.cuh"
#include "ops/cuda/kernels/tiling.cuh"

namespace nibble::cuda {
namespace {

constexpr int threads = 256;

template <bool vector>
__global__ void __launch_bounds__(threads)
    squares_kernel(double* partial, const float* x, int64_t n, int64_t piece) {
  const int64_t begin = blockIdx.x * piece, end = min(n, begin + piece);
  double sum = 0;
#pragma unroll 4
  for (int64_t i = begin + threadIdx.x * chunk_size; i < end; i += threads * chunk_size) {
    const Chunk<float> chunk = load_chunk<vector>(x + i, end - i);
    for (int j = 0; j < chunk_size; ++j) {
      const auto value = static_cast<double>(chunk[j]);
      sum = fma(value, value, sum);  // the product is exact
    }
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(threads)
    partials_kernel(float* y, const double* partial, int64_t count) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += threads) sum += partial[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *y = static_cast<float>(sum);
}

// torch.optim.AdamW (torch/optim/adamw.py, single tensor).
template <bool vector>
__global__ void __launch_bounds__(threads)
    adamw_kernel(Tiling tiling, int64_t n, float* p, const float* g, float* m, float* v,
                 AdamWStep s) {
  struct Loaded {
    Chunk<float> p, g, m, v;
  };
  for_chunks<1>(
      tiling,
      [&](int64_t, int64_t chunk) {
        const int64_t i = chunk * chunk_size;
        return Loaded{load_chunk<vector>(p + i, n - i), load_chunk<vector>(g + i, n - i),
                      load_chunk<vector>(m + i, n - i), load_chunk<vector>(v + i, n - i)};
      },
      [&](int64_t, int64_t chunk, const Loaded& old) {
        const int64_t i = chunk * chunk_size;
        float parameter[chunk_size], first[chunk_size], second[chunk_size];
        for (int j = 0; j < chunk_size; ++j) {
          const float gradient = __fmul_rn(old.g[j], s.gradient_scale);
          first[j] =
              __fadd_rn(old.m[j], __fmul_rn(s.one_minus_beta1, __fsub_rn(gradient, old.m[j])));
          second[j] = __fadd_rn(__fmul_rn(old.v[j], s.beta2),
                                __fmul_rn(__fmul_rn(s.one_minus_beta2, gradient), gradient));
          const float denominator =
              __fadd_rn(__fdiv_rn(__fsqrt_rn(second[j]), s.sqrt_correction2), s.epsilon);
          parameter[j] = __fsub_rn(__fmul_rn(old.p[j], s.decay),
                                   __fmul_rn(s.step_size, __fdiv_rn(first[j], denominator)));
        }
        store_chunk<vector>(p + i, parameter, n - i);
        store_chunk<vector>(m + i, first, n - i);
        store_chunk<vector>(v + i, second, n - i);
      });
}

// bitsandbytes' kOptimizerStatic8bit2StateBlockwise (docs/numerics.md, "Optimizer"); a thread for
// each value of a block of 256.
__global__ void __launch_bounds__(256)
    adamw_8bit_kernel(float* p, const float* g, uint8_t* m_codes, uint8_t* v_codes, float* m_absmax,
                      float* v_absmax, int64_t n, Adam8bitStep s) {
  __shared__ float signed_map[256], unsigned_map[256];
  signed_map[threadIdx.x] = s.signed_map[threadIdx.x];
  unsigned_map[threadIdx.x] = s.unsigned_map[threadIdx.x];
  __syncthreads();
  const float one_minus_beta1 = __fsub_rn(1.0f, s.beta1);
  const float one_minus_beta2 = __fsub_rn(1.0f, s.beta2);

  for (int64_t block = blockIdx.x; block * 256 < n; block += gridDim.x) {
    const int64_t i = block * 256 + threadIdx.x;
    float first = 0, second = 0;  // what is no element, or whose gradient is not finite
    if (i < n && isfinite(g[i])) {
      const float gradient = __fmul_rn(g[i], s.gradient_scale);
      first = __fmul_rn(signed_map[m_codes[i]], m_absmax[block]);
      second = __fmul_rn(unsigned_map[v_codes[i]], v_absmax[block]);
      first = __fadd_rn(__fmul_rn(first, s.beta1), __fmul_rn(one_minus_beta1, gradient));
      second = __fadd_rn(__fmul_rn(second, s.beta2),
                         __fmul_rn(__fmul_rn(one_minus_beta2, gradient), gradient));
      const float direction = __fdiv_rn(first, __fadd_rn(__fsqrt_rn(second), s.corrected_epsilon));
      p[i] = __fmul_rn(__fadd_rn(p[i], __fmul_rn(s.step_size, direction)), s.decay);
    }
    // These wait for all threads, which have read the old scales by then.
    const float m_largest = block_reduce(fabsf(first), Max{}, 0.0f);
    const float v_largest = block_reduce(second, Max{}, 0.0f);
    if (threadIdx.x == 0) {
      m_absmax[block] = m_largest;
      v_absmax[block] = v_largest;
    }
    if (i >= n) continue;
    int code = dynamic_code(signed_map, __fdiv_rn(first, m_largest));
    // A moment never changes its sign by rounding.
    if (signbit(signed_map[code]) != signbit(first)) code += first > 0 ? 1 : -1;
    m_codes[i] = static_cast<uint8_t>(code);
    v_codes[i] = static_cast<uint8_t>(dynamic_code(unsigned_map, __fdiv_rn(second, v_largest)));
  }
}

}  // namespace

void sum_of_squares(float* y, double* partial, const float* x, int64_t n, int64_t piece,
                    cudaStream_t stream) {
  const int64_t count = ceil_div(n, piece);
  if (count > 0)
    dispatch(aligned(x) && n % chunk_size == 0, [&](auto vector) {
      squares_kernel<vector>
          <<<static_cast<unsigned>(count), threads, 0, stream>>>(partial, x, n, piece);
    });
  partials_kernel<<<1, threads, 0, stream>>>(y, partial, count);
}

void adamw(float* p, const float* g, float* m, float* v, int64_t n, const AdamWStep& step,
           cudaStream_t stream) {
  const Tiling tiling(1, n, 1);
  if (tiling.empty()) return;
  dispatch(aligned(p) && aligned(g) && aligned(m) && aligned(v) && n % chunk_size == 0,
           [&](auto vector) {
             adamw_kernel<vector>
                 <<<tiling.blocks(), threads, 0, stream>>>(tiling, n, p, g, m, v, step);
           });
}

void adamw_8bit(float* p, const float* g, uint8_t* m_codes, uint8_t* v_codes, float* m_absmax,
                float* v_absmax, int64_t n, const Adam8bitStep& step, cudaStream_t stream) {
  if (n <= 0) return;
  constexpr int64_t most_blocks = 4096;
  const int64_t blocks = ceil_div(n, 256);
  adamw_8bit_kernel<<<static_cast<unsigned>(blocks < most_blocks ? blocks : most_blocks), 256, 0,
                      stream>>>(p, g, m_codes, v_codes, m_absmax, v_absmax, n, step);
}

}  // namespace nibble::cuda
