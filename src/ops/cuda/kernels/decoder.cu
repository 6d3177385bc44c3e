// The decoder's elementwise operations: embedding, rotary embedding, gated activation, dropout.
// What an output may share with an input it reads before it writes, in the same thread.
#include <cmath>

#include "ops/cuda/kernels/philox.cuh"
#include "ops/cuda/kernels/tiling.cuh"

namespace nibble::cuda {
namespace {

constexpr int unroll = 2;

// ---- rotary embedding

__global__ void __launch_bounds__(Tiling::block_size)
    rope_tables_kernel(Tiling tiling, float* cos, float* sin, const int32_t* positions,
                       const int32_t* variants, const float* inverse_frequencies, int64_t half,
                       float factor) {
  const int64_t token = tiling.row(), i = tiling.first_chunk(1);
  if (token >= tiling.rows || i >= half) return;
  const float angle =
      static_cast<float>(positions[token]) * inverse_frequencies[variants[token] * half + i];
  float s, c;
  sincosf(angle, &s, &c);
  cos[token * half + i] = factor * c;
  sin[token * half + i] = factor * s;
}

struct RopeShape {
  int64_t rows, stride;
  uint32_t heads, head_dim, half;
  uint32_t chunks;          // of the pairs of a head
  uint32_t rows_per_block;  // to fill it
};

template <typename T, bool vector>
__global__ void __launch_bounds__(256)
    rope_kernel(T* x, const float* cos, const float* sin, RopeShape shape, float sign) {
  const uint32_t items = shape.heads * shape.chunks;  // of a row
  for (uint32_t item = threadIdx.x; item < items * shape.rows_per_block; item += blockDim.x) {
    const uint32_t block_row = item / items, row_item = item - block_row * items;
    const int64_t row = int64_t{blockIdx.x} * shape.rows_per_block + block_row;
    if (row >= shape.rows) return;
    const uint32_t head = row_item / shape.chunks;
    const uint32_t pair = (row_item - head * shape.chunks) * chunk_size;
    const int64_t count = shape.half - pair;

    T* first = x + row * shape.stride + head * shape.head_dim + pair;
    T* second = first + shape.half;
    const Chunk<T> a = load_chunk<vector>(first, count), b = load_chunk<vector>(second, count);
    const auto c = load_chunk<vector>(cos + row * shape.half + pair, count);
    const auto s = load_chunk<vector>(sin + row * shape.half + pair, count);
    float turned_a[chunk_size], turned_b[chunk_size];
    for (int i = 0; i < chunk_size; ++i) {
      const float si = s[i] * sign;
      turned_a[i] = a[i] * c[i] - b[i] * si;
      turned_b[i] = b[i] * c[i] + a[i] * si;
    }
    store_chunk<vector>(first, turned_a, count);
    store_chunk<vector>(second, turned_b, count);
  }
}

// ---- gated activation

template <typename T>
struct View {
  T* data;
  int64_t stride;
  explicit View(const Matrix& x) : data(data_of<T>(x)), stride(x.stride) {}
  __device__ T* at(int64_t row, int64_t col) const { return data + row * stride + col; }
};

// The quick quotient is within 2 ulp, and 0 for exp(-x) above 2^126.
__device__ float sigmoid(float x) { return __fdividef(1.0f, 1.0f + expf(-x)); }

template <typename T, bool vector>
__global__ void __launch_bounds__(Tiling::block_size)
    gated_silu_forward_kernel(Tiling tiling, int64_t cols, View<T> y, View<const T> gate,
                              View<const T> up) {
  struct Loaded {
    Chunk<T> gate, up;
  };
  for_chunks<unroll>(
      tiling,
      [&](int64_t row, int64_t chunk) {
        const int64_t col = chunk * chunk_size;
        return Loaded{load_chunk<vector>(gate.at(row, col), cols - col),
                      load_chunk<vector>(up.at(row, col), cols - col)};
      },
      [&](int64_t row, int64_t chunk, const Loaded& v) {
        const int64_t col = chunk * chunk_size;
        float product[chunk_size];
        for (int i = 0; i < chunk_size; ++i) {
          const float g = v.gate[i];
          product[i] = g * sigmoid(g) * v.up[i];
        }
        store_chunk<vector>(y.at(row, col), product, cols - col);
      });
}

// silu'(g) = s (1 + g (1 - s)), s = sigmoid(g).
template <typename T, bool vector>
__global__ void __launch_bounds__(Tiling::block_size)
    gated_silu_backward_kernel(Tiling tiling, int64_t cols, View<T> dgate, View<T> dup,
                               View<const T> dy, View<const T> gate, View<const T> up) {
  struct Loaded {
    Chunk<T> dy, gate, up;
  };
  for_chunks<unroll>(
      tiling,
      [&](int64_t row, int64_t chunk) {
        const int64_t col = chunk * chunk_size;
        return Loaded{load_chunk<vector>(dy.at(row, col), cols - col),
                      load_chunk<vector>(gate.at(row, col), cols - col),
                      load_chunk<vector>(up.at(row, col), cols - col)};
      },
      [&](int64_t row, int64_t chunk, const Loaded& v) {
        const int64_t col = chunk * chunk_size;
        float to_gate[chunk_size], to_up[chunk_size];
        for (int i = 0; i < chunk_size; ++i) {
          const float g = v.gate[i], d = v.dy[i], s = sigmoid(g);
          to_gate[i] = d * v.up[i] * s * (1.0f + g * (1.0f - s));
          to_up[i] = d * g * s;
        }
        store_chunk<vector>(dgate.at(row, col), to_gate, cols - col);
        store_chunk<vector>(dup.at(row, col), to_up, cols - col);
      });
}

// ---- dropout

struct Keep {
  uint64_t key;
  const int32_t* halves;  // of the step
  uint32_t threshold;     // of a word's upper 24 bits

  __device__ bool operator()(uint32_t word) const { return word >> 8 >= threshold; }
  __device__ uint64_t step() const {
    return static_cast<uint32_t>(halves[0]) |
           static_cast<uint64_t>(static_cast<uint32_t>(halves[1])) << 32;
  }
  __device__ bool element(int64_t i, uint64_t step) const {
    const uint4 words = philox(key, static_cast<uint64_t>(i) / 4, step);
    const int k = static_cast<int>(i % 4);
    return (*this)(k == 0 ? words.x : k == 1 ? words.y : k == 2 ? words.z : words.w);
  }
  // The elements from i on; `vector`: i is a multiple of 4.
  template <bool vector>
  __device__ void chunk(bool (&keep)[chunk_size], int64_t i, uint64_t step) const {
    if constexpr (vector) {
#pragma unroll
      for (int j = 0; j < chunk_size; j += 4) {
        const uint4 words = philox(key, static_cast<uint64_t>(i + j) / 4, step);
        keep[j] = (*this)(words.x);
        keep[j + 1] = (*this)(words.y);
        keep[j + 2] = (*this)(words.z);
        keep[j + 3] = (*this)(words.w);
      }
    } else {
      for (int j = 0; j < chunk_size; ++j) keep[j] = element(i + j, step);
    }
  }
};

template <typename T, bool vector, bool accumulate>
__global__ void __launch_bounds__(Tiling::block_size)
    dropout_kernel(Tiling tiling, int64_t first, int64_t cols, View<T> y, View<const T> x,
                   Keep mask, float scale) {
  struct Loaded {
    Chunk<T> x, y;
  };
  const uint64_t step = mask.step();
  for_chunks<unroll>(
      tiling,
      [&](int64_t row, int64_t chunk) {
        const int64_t col = chunk * chunk_size;
        Loaded v;
        v.x = load_chunk<vector>(x.at(row, col), cols - col);
        if constexpr (accumulate) v.y = load_chunk<vector>(y.at(row, col), cols - col);
        return v;
      },
      [&](int64_t row, int64_t chunk, const Loaded& v) {
        const int64_t col = chunk * chunk_size;
        bool keep[chunk_size];
        mask.chunk<vector>(keep, first + row * cols + col, step);
        float dropped[chunk_size];
        for (int i = 0; i < chunk_size; ++i) {
          dropped[i] = keep[i] ? v.x[i] * scale : 0.0f;
          if constexpr (accumulate) dropped[i] += v.y[i];
        }
        store_chunk<vector>(y.at(row, col), dropped, cols - col);
      });
}

}  // namespace

void embedding(Matrix y, Matrix table, const int32_t* ids, cudaStream_t stream) {
  gather_rows(y, table, ids, y.rows, stream);
}

void rope_tables(float* cos, float* sin, const int32_t* positions, const int32_t* variants,
                 const float* inverse_frequencies, int64_t tokens, int64_t half, float factor,
                 cudaStream_t stream) {
  const Tiling tiling(tokens, half, 1, 1);
  if (tiling.empty()) return;
  rope_tables_kernel<<<tiling.blocks(), Tiling::block_size, 0, stream>>>(
      tiling, cos, sin, positions, variants, inverse_frequencies, half, factor);
}

void rope(Matrix x, const float* cos, const float* sin, int64_t head_dim, int64_t half,
          bool backward, cudaStream_t stream) {
  if (x.rows <= 0 || x.cols <= 0 || half <= 0) return;
  RopeShape shape{};
  shape.rows = x.rows;
  shape.stride = x.stride;
  shape.heads = static_cast<uint32_t>(x.cols / head_dim);
  shape.head_dim = static_cast<uint32_t>(head_dim);
  shape.half = static_cast<uint32_t>(half);
  shape.chunks = static_cast<uint32_t>(ceil_div(half, chunk_size));
  const uint32_t items = shape.heads * shape.chunks;
  shape.rows_per_block = items < 1024 ? 1024 / items : 1;
  const auto blocks = static_cast<unsigned>(ceil_div(x.rows, shape.rows_per_block));
  const bool whole = in_chunks(x) && aligned(cos) && aligned(sin) && head_dim % chunk_size == 0 &&
                     half % chunk_size == 0;
  dispatch(x.dtype, [&]<typename T>(T) {
    dispatch(whole, [&](auto vector) {
      rope_kernel<T, vector>
          <<<blocks, 256, 0, stream>>>(data_of<T>(x), cos, sin, shape, backward ? -1.0f : 1.0f);
    });
  });
}

void gated_silu_forward(Matrix y, Matrix gate, Matrix up, cudaStream_t stream) {
  const Tiling tiling(y.rows, y.cols, unroll);
  if (tiling.empty()) return;
  dispatch(y.dtype, [&]<typename T>(T) {
    dispatch(in_chunks(y) && in_chunks(gate) && in_chunks(up), [&](auto vector) {
      gated_silu_forward_kernel<T, vector><<<tiling.blocks(), Tiling::block_size, 0, stream>>>(
          tiling, y.cols, View<T>(y), View<const T>(gate), View<const T>(up));
    });
  });
}

void gated_silu_backward(Matrix dgate, Matrix dup, Matrix dy, Matrix gate, Matrix up,
                         cudaStream_t stream) {
  const Tiling tiling(dy.rows, dy.cols, unroll);
  if (tiling.empty()) return;
  const bool whole =
      in_chunks(dgate) && in_chunks(dup) && in_chunks(dy) && in_chunks(gate) && in_chunks(up);
  dispatch(dy.dtype, [&]<typename T>(T) {
    dispatch(whole, [&](auto vector) {
      gated_silu_backward_kernel<T, vector><<<tiling.blocks(), Tiling::block_size, 0, stream>>>(
          tiling, dy.cols, View<T>(dgate), View<T>(dup), View<const T>(dy), View<const T>(gate),
          View<const T>(up));
    });
  });
}

void dropout(Matrix y, bool accumulate, Matrix x, const DropoutStream& stream_of_masks,
             cudaStream_t stream) {
  const Tiling tiling(x.rows, x.cols, unroll);
  if (tiling.empty()) return;
  // uniform_float(word) >= p in integers: exact, as p * 2^24 is.
  const Keep mask{stream_of_masks.key, stream_of_masks.step,
                  static_cast<uint32_t>(std::ceil(stream_of_masks.probability * 0x1p24f))};
  dispatch(x.dtype, [&]<typename T>(T) {
    const bool whole = in_chunks(x) && in_chunks(y) && stream_of_masks.first % 4 == 0;
    dispatch(whole, [&](auto vector) {
      dispatch(accumulate, [&](auto add) {
        dropout_kernel<T, vector, add><<<tiling.blocks(), Tiling::block_size, 0, stream>>>(
            tiling, stream_of_masks.first, x.cols, View<T>(y), View<const T>(x), mask,
            stream_of_masks.scale);
      });
    });
  });
}

}  // namespace nibble::cuda
