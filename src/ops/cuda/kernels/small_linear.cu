// The linear layers of QLoRA for a few tokens, as generation has them: codes are read once and
// decoded in registers, so a call costs the reading of them. The weights are rounded as dequantize
// rounds them, sums are float32 in a fixed order, and results are rounded once.
#include <algorithm>

#include "ops/cuda/kernels/four_bit.cuh"
#include "ops/cuda/kernels/mma.cuh"
#include "ops/cuda/kernels/reduce.cuh"

namespace nibble::cuda {
namespace {

constexpr int most_tokens = SmallLinearGroup::most_tokens;
constexpr int threads = 256;
constexpr unsigned all_lanes = 0xffffffffu;

// A block has consecutive rows of one layer: which layer, and the first of them.
struct Place {
  int layer;
  int64_t row;
};

__device__ Place place_of_block(const SmallLinearGroup& group, int64_t rows) {
  int64_t block = blockIdx.x;
  int layer = 0;
  for (; block >= ceil_div(group.layers[layer].out, rows); ++layer)
    block -= ceil_div(group.layers[layer].out, rows);
  return {layer, block * rows};
}

unsigned blocks_of(const SmallLinearGroup& group, int64_t rows) {
  int64_t blocks = 0;
  for (int i = 0; i < group.count; ++i) blocks += ceil_div(group.layers[i].out, rows);
  return static_cast<unsigned>(blocks);
}

// ---- t = x A^T, a block for each column of t

template <typename T, bool vector>
__global__ void __launch_bounds__(threads)
    adapter_kernel(T* t, int64_t t_stride, const T* x, int64_t x_stride, int tokens, int64_t in,
                   const __grid_constant__ SmallLinearGroup group) {
  const int64_t column = blockIdx.x;
  const float* a = nullptr;  // stays so for the columns behind all ranks, which are zero
  for (int i = 0; i < group.count; ++i) {
    const int64_t rank = column - group.layers[i].first_rank;
    if (rank >= 0 && rank < group.layers[i].rank) a = group.layers[i].a + rank * in;
  }

  float sums[most_tokens] = {};
  for (int64_t k = threadIdx.x * chunk_size; a && k < in; k += threads * chunk_size) {
    const Chunk<float> factors = load_chunk<vector>(a + k, in - k);
#pragma unroll
    for (int token = 0; token < most_tokens; ++token) {
      if (token >= tokens) continue;
      const Chunk<T> values = load_chunk<vector>(x + token * x_stride + k, in - k);
      for (int j = 0; j < chunk_size; ++j)
        sums[token] = fmaf(values[j], as_float(round_to<T>(factors[j])), sums[token]);
    }
  }
#pragma unroll
  for (int token = 0; token < most_tokens; ++token) {
    if (token >= tokens) continue;
    const float sum = block_sum(sums[token]);
    if (threadIdx.x == 0) t[token * t_stride + column] = round_to<T>(sum);
  }
}

// ---- y on tensor cores: 16-bit types, and whole chunks of 32 weights

constexpr int tile_rows = 16, tile_columns = 128, lane_columns = 32;
constexpr int most_warps = 16;

// The warps of a block share its 16 rows and take every warps-th tile of 128 columns. Of a tile,
// lane l has rows l / 4 and l / 4 + 8 and the 32 columns from 32 (l % 4) on, all of one block of
// the quantization; each of the 8 products takes the next four of them. (The columns of a product
// may have any order that its two factors share.) Lane k also holds the value of code k % 16, for
// the others to read.
template <typename T, typename Source, bool nested>
__global__ void __launch_bounds__(most_warps * 32, 2)
    tensor_kernel(T* y, int64_t y_stride, const T* residual, int64_t residual_stride, const T* x,
                  const T* t, int64_t x_stride, int tokens, int64_t in,
                  const __grid_constant__ SmallLinearGroup group) {
  __shared__ float partial[most_warps][most_tokens][tile_rows];
  const Place place = place_of_block(group, tile_rows);
  const SmallLinear& layer = group.layers[place.layer];
  const FourBitMatrix& q = layer.weight;
  const int warps = static_cast<int>(blockDim.x / 32), warp = static_cast<int>(threadIdx.x / 32);
  const int lane = static_cast<int>(threadIdx.x % 32), eighth = lane / 4, quarter = lane % 4;
  const float code_value = q.code_map[lane % 16];
  const float offset = nested ? *q.offset : 0;

  // What is beyond the last row, column or token repeats the last: such rows and tokens are not
  // stored, and such columns count as zero.
  const auto chunks = static_cast<uint32_t>(in / lane_columns);
  const int log_chunks_of_block = __ffs(q.block_size / lane_columns) - 1;
  const auto* codes = reinterpret_cast<const uint4*>(q.codes);
  const auto* lane_x = reinterpret_cast<const uint4*>(x + min(eighth, tokens - 1) * x_stride);
  int64_t rows[2];
  uint32_t row_chunks[2];
  for (int h = 0; h < 2; ++h) {
    rows[h] = min(place.row + eighth + 8 * h, layer.out - 1);
    row_chunks[h] = static_cast<uint32_t>(rows[h]) * chunks;
  }

  float sums[4] = {};
  constexpr uint32_t tile_chunks = tile_columns / lane_columns;
  // Scales are asked for a tile ahead: they take two steps, and codes one.
  Scale<nested> scales[2];
  const auto load_scales = [&](uint32_t chunk) {
#pragma unroll
    for (int h = 0; h < 2; ++h)
      scales[h].load(q, (row_chunks[h] + min(chunk, chunks - 1)) >> log_chunks_of_block);
  };
  load_scales(warp * tile_chunks + quarter);
#pragma unroll 1
  for (uint32_t first = warp * tile_chunks; first < chunks; first += warps * tile_chunks) {
    const uint32_t chunk = min(first + quarter, chunks - 1);
    const uint4* pieces = lane_x + uint64_t{chunk} * 4;
    uint32_t words[2][4];
    float scale[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint4 loaded = __ldcs(codes + (row_chunks[h] + chunk));
      words[h][0] = loaded.x;
      words[h][1] = loaded.y;
      words[h][2] = loaded.z;
      words[h][3] = loaded.w;
    }
#pragma unroll
    for (int h = 0; h < 2; ++h)
      scale[h] = first + quarter < chunks ? scales[h].value(q, offset) : 0;
    load_scales(chunk + warps * tile_chunks);
#pragma unroll
    for (int p = 0; p < 4; ++p) {  // eight columns, two products
      const uint4 piece = pieces[p];
      uint32_t pairs[2][4];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float w[chunk_size];
#pragma unroll
        for (int j = 0; j < chunk_size; ++j) {
          // The lane is taken modulo 32: bit 4, of another code, does no harm.
          const auto code = static_cast<int>(words[h][p] >> (4 * (j ^ 1)));
          w[j] = decoded<T, Source>(__shfl_sync(all_lanes, code_value, code), scale[h]);
        }
        for (int j = 0; j < 4; ++j) pairs[h][j] = pack<T>(w[2 * j], w[2 * j + 1]);
      }
      tensor_multiply_add<T>(sums, {pairs[0][0], pairs[1][0], pairs[0][1], pairs[1][1]}, piece.x,
                             piece.y);
      tensor_multiply_add<T>(sums, {pairs[0][2], pairs[1][2], pairs[0][3], pairs[1][3]}, piece.z,
                             piece.w);
    }
  }

  // The adapter: more columns, of t and scaling * B.
  for (int64_t begin = 16 * warp; begin < layer.rank; begin += 16 * warps) {
    const int64_t r = begin + 4 * quarter;
    const auto factors = [&](int64_t row, int64_t column) {
      const auto factor = [&](int64_t k) {
        return k < layer.rank ? layer.b[row * layer.rank + k] * layer.scaling : 0;
      };
      return pack<T>(factor(column), factor(column + 1));
    };
    const auto values = [&](int64_t column) {
      const auto value = [&](int64_t k) {
        return eighth < tokens && k < layer.rank
                   ? as_float(t[eighth * x_stride + layer.first_rank + k])
                   : 0;
      };
      return pack<T>(value(column), value(column + 1));
    };
    tensor_multiply_add<T>(sums,
                           {factors(rows[0], r), factors(rows[1], r), factors(rows[0], r + 2),
                            factors(rows[1], r + 2)},
                           values(r), values(r + 2));
  }

  for (int i = 0; i < 4; ++i) partial[warp][2 * quarter + i % 2][eighth + 8 * (i / 2)] = sums[i];
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < tokens * tile_rows;
       i += static_cast<int>(blockDim.x)) {
    const int token = i / tile_rows;
    const int64_t row = place.row + i % tile_rows;
    if (row >= layer.out) continue;
    float sum = 0;
    for (int part = 0; part < warps; ++part) sum += partial[part][token][i % tile_rows];
    const int64_t column = layer.first_output + row;
    if (residual) sum += as_float(residual[token * residual_stride + column]);
    if (layer.bias) sum += as_float(static_cast<const T*>(layer.bias)[row]);
    y[token * y_stride + column] = round_to<T>(sum);
  }
}

// ---- y of any type and shape, a warp for each row

// The value of element i, given its code's; rounded to its source type and to T.
template <typename T>
__device__ float rounded_weight(const FourBitMatrix& q, float code_value, float scale) {
  float value = __fmul_rn(code_value, scale);
  if (q.source == DType::bf16) value = as_float(round_to<__nv_bfloat16>(value));
  if (q.source == DType::f16) value = as_float(round_to<__half>(value));
  return as_float(round_to<T>(value));
}

__device__ float scale_of(const FourBitMatrix& q, uint64_t block) {
  if (q.absmax) return q.absmax[block];
  Scale<true> scale;
  scale.load(q, block);
  return scale.value(q, *q.offset);
}

// Each lane takes chunks of eight columns; `vector`: whole ones, with a code word each.
template <typename T, bool vector>
__global__ void __launch_bounds__(threads)
    rows_kernel(T* y, int64_t y_stride, const T* residual, int64_t residual_stride, const T* x,
                const T* t, int64_t x_stride, int tokens, int64_t in,
                const __grid_constant__ SmallLinearGroup group) {
  const Place place = place_of_block(group, threads / 32);
  const SmallLinear& layer = group.layers[place.layer];
  const FourBitMatrix& q = layer.weight;
  const int64_t row = place.row + threadIdx.x / 32;
  if (row >= layer.out) return;  // the whole warp
  const int lane = static_cast<int>(threadIdx.x % 32);
  const float code_value = q.code_map[lane % 16];
  const int log_block_size = __ffs(q.block_size) - 1;

  float sums[most_tokens] = {};
  for (int64_t begin = 0; begin < in; begin += 32 * chunk_size) {  // all lanes take part
    const int64_t k = begin + lane * chunk_size;
    // Columns beyond the last repeat the last, and meet zeros of x.
    float w[chunk_size];
    if constexpr (vector) {
      const int64_t element = row * in + min(k, in - chunk_size);
      const uint32_t codes = reinterpret_cast<const uint32_t*>(q.codes)[element / chunk_size];
      const float scale = scale_of(q, static_cast<uint64_t>(element) >> log_block_size);
#pragma unroll
      for (int j = 0; j < chunk_size; ++j) {
        const auto code = static_cast<int>(codes >> (4 * (j ^ 1)));
        w[j] = rounded_weight<T>(q, __shfl_sync(all_lanes, code_value, code), scale);
      }
    } else {
#pragma unroll
      for (int j = 0; j < chunk_size; ++j) {
        const int64_t element = row * in + min(k + j, in - 1);
        const int code = q.codes[element / 2] >> (element % 2 == 0 ? 4 : 0);
        const float scale = scale_of(q, static_cast<uint64_t>(element) >> log_block_size);
        w[j] = rounded_weight<T>(q, __shfl_sync(all_lanes, code_value, code), scale);
      }
    }
    if (k >= in) continue;
#pragma unroll
    for (int token = 0; token < most_tokens; ++token) {
      if (token >= tokens) continue;
      const Chunk<T> values = load_chunk<vector>(x + token * x_stride + k, in - k);
      for (int j = 0; j < chunk_size; ++j) sums[token] = fmaf(values[j], w[j], sums[token]);
    }
  }

  for (int64_t r = lane; r < layer.rank; r += 32) {
    const float factor = as_float(round_to<T>(layer.b[row * layer.rank + r] * layer.scaling));
#pragma unroll
    for (int token = 0; token < most_tokens; ++token)
      if (token < tokens)
        sums[token] =
            fmaf(as_float(t[token * x_stride + layer.first_rank + r]), factor, sums[token]);
  }

  const int64_t column = layer.first_output + row;
#pragma unroll
  for (int token = 0; token < most_tokens; ++token) {
    if (token >= tokens) continue;
    float sum = warp_reduce(sums[token], Sum{});
    if (lane != 0) continue;
    if (residual) sum += as_float(residual[token * residual_stride + column]);
    if (layer.bias) sum += as_float(static_cast<const T*>(layer.bias)[row]);
    y[token * y_stride + column] = round_to<T>(sum);
  }
}

// Whether every layer's codes begin at such addresses.
bool codes_aligned(const SmallLinearGroup& group, uintptr_t bytes) {
  return std::all_of(group.layers, group.layers + group.count, [&](const SmallLinear& layer) {
    return reinterpret_cast<uintptr_t>(layer.weight.codes) % bytes == 0;
  });
}

// Whether values are rounded to the source type before they are to the compute type.
bool rounded_twice(const FourBitMatrix& q, DType compute) {
  return q.source != DType::f32 && q.source != compute;
}

bool for_tensor_cores(const Matrix& x, const SmallLinearGroup& group) {
  if (x.dtype == DType::f32 || x.cols % lane_columns != 0 || !in_chunks(x)) return false;
  const FourBitMatrix& first = group.layers[0].weight;
  return codes_aligned(group, 16) &&
         std::all_of(group.layers, group.layers + group.count, [&](const SmallLinear& layer) {
           const FourBitMatrix& q = layer.weight;
           return (q.absmax == nullptr) == (first.absmax == nullptr) &&
                  rounded_twice(q, x.dtype) == rounded_twice(first, x.dtype) &&
                  layer.out * (x.cols / lane_columns) <= int64_t{UINT32_MAX};
         });
}

// As many warps a block as keep a large device busy, with equally many tiles each where possible.
int warps_of_block(unsigned blocks, int64_t in) {
  constexpr int64_t wanted = 4096, fewest = 4;
  const int64_t tiles = ceil_div(in, tile_columns);
  const int64_t warps = std::clamp<int64_t>(wanted / blocks, fewest, most_warps);
  return static_cast<int>(ceil_div(tiles, ceil_div(tiles, warps)));
}

}  // namespace

void small_linear_adapters(Matrix t, Matrix x, const SmallLinearGroup& group, cudaStream_t stream) {
  if (x.rows <= 0 || t.cols <= 0) return;
  const bool whole = in_chunks(x) && std::all_of(group.layers, group.layers + group.count,
                                                 [](const SmallLinear& layer) {
                                                   return layer.rank == 0 || aligned(layer.a);
                                                 });
  dispatch(x.dtype, [&]<typename T>(T) {
    dispatch(whole, [&](auto vector) {
      adapter_kernel<T, vector><<<static_cast<unsigned>(t.cols), threads, 0, stream>>>(
          data_of<T>(t), t.stride, data_of<const T>(x), x.stride, static_cast<int>(x.rows), x.cols,
          group);
    });
  });
}

void small_linear(Matrix y, Matrix residual, Matrix x, Matrix t, const SmallLinearGroup& group,
                  cudaStream_t stream) {
  if (x.rows <= 0 || y.cols <= 0) return;
  const auto tokens = static_cast<int>(x.rows);
  if (for_tensor_cores(x, group)) {
    const FourBitMatrix& first = group.layers[0].weight;
    const unsigned blocks = blocks_of(group, tile_rows);
    const int block_threads = 32 * warps_of_block(blocks, x.cols);
    const auto run = [&]<typename T, typename Other>(T, Other) {
      dispatch(first.absmax == nullptr, [&](auto nested) {
        const auto kernel = rounded_twice(first, x.dtype) ? tensor_kernel<T, Other, nested>
                                                          : tensor_kernel<T, T, nested>;
        kernel<<<blocks, block_threads, 0, stream>>>(
            data_of<T>(y), y.stride, data_of<const T>(residual), residual.stride,
            data_of<const T>(x), data_of<const T>(t), x.stride, tokens, x.cols, group);
      });
    };
    if (x.dtype == DType::bf16)
      run(__nv_bfloat16{}, __half{});
    else
      run(__half{}, __nv_bfloat16{});
    return;
  }
  const bool whole = in_chunks(x) && codes_aligned(group, 4);
  dispatch(x.dtype, [&]<typename T>(T) {
    dispatch(whole, [&](auto vector) {
      rows_kernel<T, vector><<<blocks_of(group, threads / 32), threads, 0, stream>>>(
          data_of<T>(y), y.stride, data_of<const T>(residual), residual.stride, data_of<const T>(x),
          data_of<const T>(t), x.stride, tokens, x.cols, group);
    });
  });
}

}  // namespace nibble::cuda
