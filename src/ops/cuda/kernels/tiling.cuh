// Grids over matrices, for kernels in which every chunk is computed alone.
#pragma once

#include "ops/cuda/kernels/elements.cuh"

namespace nibble::cuda {

// A block's threads lie `width` side by side, in block_size / width rows. Each has `unroll` chunks
// of its row, `width` apart: enough reads under way to hide their latency, and neighbours in memory
// read by neighbours. A row is `tiles` blocks wide.
struct Tiling {
  static constexpr int block_size = 256;
  uint32_t rows, chunks;  // 2^32 chunks are as much as a device has memory for
  uint32_t tiles;
  int log_width;

  // The widest that leaves few threads without a chunk.
  Tiling(int64_t matrix_rows, int64_t matrix_cols, int unroll, int chunk = chunk_size)
      : rows(static_cast<uint32_t>(matrix_rows)),
        chunks(static_cast<uint32_t>(ceil_div(matrix_cols, chunk))) {
    int64_t least = 0;
    for (int log = 8; log >= 0; --log) {
      const int64_t span = int64_t{unroll} << log;
      const int64_t covered = ceil_div(chunks, span) * span;
      if (least > 0 && covered >= least) continue;
      least = covered;
      log_width = log;
      tiles = static_cast<uint32_t>(covered / span);
      if (covered - chunks <= chunks / 16) break;
    }
  }
  unsigned blocks() const {
    return static_cast<unsigned>(ceil_div(rows, block_size >> log_width) * tiles);
  }
  bool empty() const { return rows == 0 || chunks == 0; }

  __device__ uint32_t width() const { return 1u << log_width; }
  __device__ uint32_t row() const {
    return blockIdx.x / tiles * (block_size >> log_width) + (threadIdx.x >> log_width);
  }
  __device__ uint32_t first_chunk(int unroll) const {
    return (blockIdx.x % tiles * unroll << log_width) + (threadIdx.x & (width() - 1));
  }
};

// finish(row, chunk, load(row, chunk)) for the chunks of this thread, all loads before all else; so
// an output may be an input. row and chunk are int64_t, for products with strides.
template <int unroll, typename Load, typename Finish>
__device__ void for_chunks(const Tiling& tiling, const Load& load, const Finish& finish) {
  const uint32_t row = tiling.row(), first = tiling.first_chunk(unroll);
  if (row >= tiling.rows) return;
  decltype(load(row, first)) loaded[unroll];
#pragma unroll
  for (int u = 0; u < unroll; ++u) {
    const uint32_t chunk = first + u * tiling.width();
    if (chunk < tiling.chunks) loaded[u] = load(row, chunk);
  }
#pragma unroll
  for (int u = 0; u < unroll; ++u) {
    const uint32_t chunk = first + u * tiling.width();
    if (chunk < tiling.chunks) finish(row, chunk, loaded[u]);
  }
}

}  // namespace nibble::cuda
