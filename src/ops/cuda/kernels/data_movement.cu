// Conversions, scaled copies and sums, and rows by index.
#include "ops/cuda/kernels/tiling.cuh"

namespace nibble::cuda {
namespace {

constexpr int unroll = 2;

template <typename Y, typename X, bool vector>
__global__ void __launch_bounds__(Tiling::block_size)
    scale_kernel(Tiling tiling, int64_t cols, Y* y, int64_t y_stride, const X* x, int64_t x_stride,
                 float scale) {
  for_chunks<unroll>(
      tiling,
      [&](int64_t row, int64_t chunk) {
        const int64_t col = chunk * chunk_size;
        return load_chunk<vector>(x + row * x_stride + col, cols - col);
      },
      [&](int64_t row, int64_t chunk, const Chunk<X>& v) {
        const int64_t col = chunk * chunk_size;
        float scaled[chunk_size];
        for (int i = 0; i < chunk_size; ++i) scaled[i] = v[i] * scale;
        store_chunk<vector>(y + row * y_stride + col, scaled, cols - col);
      });
}

template <typename X, bool vector>
__global__ void __launch_bounds__(Tiling::block_size)
    add_scaled_kernel(Tiling tiling, int64_t cols, float* y, int64_t y_stride, const X* x,
                      int64_t x_stride, float scale) {
  struct Loaded {
    Chunk<X> x;
    Chunk<float> y;
  };
  for_chunks<unroll>(
      tiling,
      [&](int64_t row, int64_t chunk) {
        const int64_t col = chunk * chunk_size;
        return Loaded{load_chunk<vector>(x + row * x_stride + col, cols - col),
                      load_chunk<vector>(y + row * y_stride + col, cols - col)};
      },
      [&](int64_t row, int64_t chunk, const Loaded& v) {
        const int64_t col = chunk * chunk_size;
        float sum[chunk_size];
        for (int i = 0; i < chunk_size; ++i) sum[i] = fmaf(v.x[i], scale, v.y[i]);
        store_chunk<vector>(y + row * y_stride + col, sum, cols - col);
      });
}

// Strides count units.
template <typename Unit, bool scatter>
__global__ void __launch_bounds__(Tiling::block_size)
    rows_kernel(Tiling tiling, Unit* y, int64_t y_stride, const Unit* x, int64_t x_stride,
                const int32_t* rows) {
  for_chunks<unroll>(
      tiling,
      [&](int64_t row, int64_t unit) { return x[(scatter ? row : rows[row]) * x_stride + unit]; },
      [&](int64_t row, int64_t unit, const Unit& v) {
        y[(scatter ? rows[row] : row) * y_stride + unit] = v;
      });
}

template <typename Unit, bool scatter>
void move_units(const Matrix& y, const Matrix& x, const int32_t* rows, int64_t count,
                cudaStream_t stream) {
  const auto size = static_cast<int64_t>(size_of(x.dtype));
  constexpr auto unit = static_cast<int64_t>(sizeof(Unit));
  const Tiling tiling(count, x.cols * size / unit, unroll, 1);
  if (tiling.empty()) return;
  rows_kernel<Unit, scatter><<<tiling.blocks(), Tiling::block_size, 0, stream>>>(
      tiling, data_of<Unit>(y), y.stride * size / unit, data_of<const Unit>(x),
      x.stride * size / unit, rows);
}

template <bool scatter>
void move_rows(const Matrix& y, const Matrix& x, const int32_t* rows, int64_t count,
               cudaStream_t stream) {
  const auto size = static_cast<int64_t>(size_of(x.dtype));
  if (aligned(y.data) && aligned(x.data) && (x.cols * size) % 16 == 0 &&
      (y.stride * size) % 16 == 0 && (x.stride * size) % 16 == 0)
    move_units<uint4, scatter>(y, x, rows, count, stream);
  else if (size == 4)
    move_units<uint32_t, scatter>(y, x, rows, count, stream);
  else if (size == 2)
    move_units<uint16_t, scatter>(y, x, rows, count, stream);
  else
    move_units<uint8_t, scatter>(y, x, rows, count, stream);
}

void scale(const Matrix& y, const Matrix& x, float factor, cudaStream_t stream) {
  const Tiling tiling(x.rows, x.cols, unroll);
  if (tiling.empty()) return;
  dispatch(y.dtype, [&]<typename Y>(Y) {
    dispatch(x.dtype, [&]<typename X>(X) {
      dispatch(in_chunks(x) && in_chunks(y), [&](auto vector) {
        scale_kernel<Y, X, vector><<<tiling.blocks(), Tiling::block_size, 0, stream>>>(
            tiling, x.cols, data_of<Y>(y), y.stride, data_of<const X>(x), x.stride, factor);
      });
    });
  });
}

}  // namespace

void convert(void* y, DType y_type, const void* x, DType x_type, int64_t n, cudaStream_t stream) {
  // Multiplication by 1 is exact. What does not fill a chunk goes apart, so that the rest is fast.
  const int64_t whole = n / chunk_size * chunk_size;
  const auto part = [&](int64_t begin, int64_t count) {
    auto* to = static_cast<char*>(y) + begin * static_cast<int64_t>(size_of(y_type));
    auto* from = static_cast<const char*>(x) + begin * static_cast<int64_t>(size_of(x_type));
    scale({to, 1, count, whole, y_type}, {const_cast<char*>(from), 1, count, whole, x_type}, 1.0f,
          stream);
  };
  part(0, whole);
  part(whole, n - whole);
}

void scale_from_f32(Matrix y, Matrix x, float factor, cudaStream_t stream) {
  scale(y, x, factor, stream);
}

void add_scaled(Matrix y, Matrix x, float scale, cudaStream_t stream) {
  const Tiling tiling(x.rows, x.cols, unroll);
  if (tiling.empty()) return;
  dispatch(x.dtype, [&]<typename X>(X) {
    dispatch(in_chunks(x) && in_chunks(y), [&](auto vector) {
      add_scaled_kernel<X, vector><<<tiling.blocks(), Tiling::block_size, 0, stream>>>(
          tiling, x.cols, data_of<float>(y), y.stride, data_of<const X>(x), x.stride, scale);
    });
  });
}

void gather_rows(Matrix y, Matrix x, const int32_t* rows, int64_t count, cudaStream_t stream) {
  move_rows<false>(y, x, rows, count, stream);
}

void scatter_rows(Matrix y, Matrix x, const int32_t* rows, int64_t count, cudaStream_t stream) {
  move_rows<true>(y, x, rows, count, stream);
}

}  // namespace nibble::cuda
