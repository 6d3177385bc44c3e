// RMS norm of groups of columns (Zhang & Sennrich 2019), forward and backward.
#include "ops/cuda/kernels/reduce.cuh"
#include "ops/cuda/kernels/tiling.cuh"

namespace nibble::cuda {
namespace {

constexpr int most_threads = 512;

// `width` threads share a group: lanes of a warp, then a block has several groups; or a whole
// block.
struct Groups {
  static constexpr int kept = 2;  // chunks of a thread that stay in registers between the passes
  uint32_t count, per_row;
  int n, chunks;
  int width;
  int log_block_groups;  // groups of a block

  Groups(const Matrix& x, int64_t columns)
      : count(static_cast<uint32_t>(x.rows * (x.cols / columns))),
        per_row(static_cast<uint32_t>(x.cols / columns)),
        n(static_cast<int>(columns)),
        chunks(static_cast<int>(ceil_div(columns, chunk_size))),
        width(1),
        log_block_groups(0) {
    const int wanted = (chunks + kept - 1) / kept;
    if (wanted > 32) {
      width = wanted < most_threads ? (wanted + 31) / 32 * 32 : most_threads;
    } else {
      while (width < wanted) width *= 2;
      while (width << log_block_groups < 256) ++log_block_groups;
    }
  }
  int threads() const { return width << log_block_groups; }
  unsigned blocks() const {
    return static_cast<unsigned>(ceil_div(count, int64_t{1} << log_block_groups));
  }

  struct Place {
    uint32_t group;
    int64_t row, col;
    int chunks;  // 0 for threads without a group, which take part in sums all the same
    int lane;
  };
  __device__ Place place() const {
    const uint32_t block_group = width > 32 ? 0 : threadIdx.x / static_cast<uint32_t>(width);
    const uint32_t group = (blockIdx.x << log_block_groups) + block_group;
    const uint32_t row = per_row == 1 ? group : group / per_row;
    return {group, row, int64_t{group - row * per_row} * n, group < count ? chunks : 0,
            static_cast<int>(threadIdx.x - block_group * width)};
  }
  __device__ float sum(float x) const {
    return width > 32 ? block_sum(x) : warp_reduce(x, Sum{}, width);
  }
  // body(k, col) for those of this thread's chunks that stay in registers; col: the first column.
  template <typename Body>
  __device__ void for_kept(const Place& at, const Body& body) const {
#pragma unroll
    for (int k = 0; k < kept; ++k) {
      const int chunk = at.lane + k * width;
      if (chunk < at.chunks) body(k, chunk * chunk_size);
    }
  }
  // body(col) for the others.
  template <typename Body>
  __device__ void for_others(const Place& at, const Body& body) const {
#pragma unroll 1
    for (int chunk = at.lane + kept * width; chunk < at.chunks; chunk += width)
      body(chunk * chunk_size);
  }
};

template <typename T, bool vector>
__global__ void __launch_bounds__(most_threads)
    forward_kernel(Groups groups, T* y, int64_t y_stride, float* rstd, const T* x, int64_t x_stride,
                   const float* weight, float epsilon) {
  const auto at = groups.place();
  x += at.row * x_stride + at.col;
  y += at.row * y_stride + at.col;
  const auto load = [&](int col) { return load_chunk<vector>(x + col, groups.n - col); };

  float squares = 0;
  const auto add = [&](const Chunk<T>& v) {
    for (int i = 0; i < chunk_size; ++i) squares = fmaf(v[i], v[i], squares);
  };
  Chunk<T> kept[Groups::kept];
  groups.for_kept(at, [&](int k, int col) { kept[k] = load(col); });
  groups.for_kept(at, [&](int k, int) { add(kept[k]); });
  groups.for_others(at, [&](int col) { add(load(col)); });

  const float mean = groups.sum(squares) / static_cast<float>(groups.n);
  const float r = 1.0f / sqrtf(mean + epsilon);
  if (at.lane == 0 && at.chunks > 0) rstd[at.group] = r;
  const auto write = [&](int col, const Chunk<T>& v) {
    const auto w = load_chunk<vector>(weight + col, groups.n - col);
    float normed[chunk_size];
    for (int i = 0; i < chunk_size; ++i) normed[i] = v[i] * r * w[i];
    store_chunk<vector>(y + col, normed, groups.n - col);
  };
  groups.for_kept(at, [&](int k, int col) { write(col, kept[k]); });
  groups.for_others(at, [&](int col) { write(col, load(col)); });
}

// With n columns, h = x * rstd and g = dy * weight:  dx = rstd * (g - h * mean(g * h)).
template <typename T, bool vector, bool accumulate>
__global__ void __launch_bounds__(most_threads)
    backward_kernel(Groups groups, T* dx, int64_t dx_stride, const T* dy, int64_t dy_stride,
                    const T* x, int64_t x_stride, const float* weight, const float* rstd) {
  struct Loaded {
    Chunk<T> dx, dy, x;
  };
  const auto at = groups.place();
  dx += at.row * dx_stride + at.col;
  dy += at.row * dy_stride + at.col;
  x += at.row * x_stride + at.col;
  const float r = at.chunks > 0 ? rstd[at.group] : 0;
  const auto load = [&](int col) {
    const int count = groups.n - col;
    Loaded v;
    if constexpr (accumulate) v.dx = load_chunk<vector>(dx + col, count);
    v.dy = load_chunk<vector>(dy + col, count);
    v.x = load_chunk<vector>(x + col, count);
    return v;
  };

  float products = 0;
  const auto add = [&](int col, const Loaded& v) {
    const auto w = load_chunk<vector>(weight + col, groups.n - col);
    for (int i = 0; i < chunk_size; ++i) products = fmaf(v.dy[i] * w[i], v.x[i] * r, products);
  };
  Loaded kept[Groups::kept];
  groups.for_kept(at, [&](int k, int col) { kept[k] = load(col); });
  groups.for_kept(at, [&](int k, int col) { add(col, kept[k]); });
  groups.for_others(at, [&](int col) { add(col, load(col)); });

  const float mean = groups.sum(products) / static_cast<float>(groups.n);
  const auto write = [&](int col, const Loaded& v) {
    const auto w = load_chunk<vector>(weight + col, groups.n - col);
    float gradient[chunk_size];
    for (int i = 0; i < chunk_size; ++i) {
      gradient[i] = (v.dy[i] * w[i] - v.x[i] * r * mean) * r;
      if constexpr (accumulate) gradient[i] += v.dx[i];
    }
    store_chunk<vector>(dx + col, gradient, groups.n - col);
  };
  groups.for_kept(at, [&](int k, int col) { write(col, kept[k]); });
  groups.for_others(at, [&](int col) { write(col, load(col)); });
}

bool groups_in_chunks(const Matrix& x, int64_t n) { return in_chunks(x) && n % chunk_size == 0; }

}  // namespace

void rms_norm_forward(Matrix y, float* rstd, Matrix x, const float* weight, int64_t n,
                      float epsilon, cudaStream_t stream) {
  if (x.rows <= 0 || x.cols <= 0) return;
  const Groups groups(x, n);
  const bool whole = groups_in_chunks(x, n) && in_chunks(y) && aligned(weight);
  dispatch(x.dtype, [&]<typename T>(T) {
    dispatch(whole, [&](auto vector) {
      forward_kernel<T, vector><<<groups.blocks(), groups.threads(), 0, stream>>>(
          groups, data_of<T>(y), y.stride, rstd, data_of<const T>(x), x.stride, weight, epsilon);
    });
  });
}

void rms_norm_backward(Matrix dx, bool accumulate, Matrix dy, Matrix x, const float* weight,
                       const float* rstd, int64_t n, cudaStream_t stream) {
  if (x.rows <= 0 || x.cols <= 0) return;
  const Groups groups(x, n);
  const bool whole = groups_in_chunks(x, n) && in_chunks(dx) && in_chunks(dy) && aligned(weight);
  dispatch(x.dtype, [&]<typename T>(T) {
    dispatch(whole, [&](auto vector) {
      dispatch(accumulate, [&](auto add) {
        backward_kernel<T, vector, add><<<groups.blocks(), groups.threads(), 0, stream>>>(
            groups, data_of<T>(dx), dx.stride, data_of<const T>(dy), dy.stride, data_of<const T>(x),
            x.stride, weight, rstd);
      });
    });
  });
}

}  // namespace nibble::cuda
