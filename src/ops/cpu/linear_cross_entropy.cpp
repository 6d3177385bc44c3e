// Output head and loss, in chunks of trained rows and tiles of the vocabulary: a masked token costs
// nothing, and the full logits never exist.
//
// Every product is one of a chunk with a tile, the softmax's denominators and the gradient of x are
// added up tile by tile: so that the bits are the same whether a chunk's tiles are all held, or one
// at a time and computed again for the gradient.
#include <cmath>
#include <cstring>

#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/scratch.h"
#include "ops/head_tiles.h"

namespace nibble {

using cpu::plain;
using cpu::transposed;

namespace {

// The next `most` rows that have a label, from `next` on, which moves behind them.
int64_t gather(Tensor y, int32_t* targets, int32_t* rows, Tensor x, const int32_t* labels,
               int64_t most, int64_t& next) {
  const size_t bytes = static_cast<size_t>(x.cols) * size_of(x.dtype);
  int64_t count = 0;
  for (; next < x.rows && count < most; ++next) {
    if (labels[next] < 0) continue;
    std::memcpy(y.row_range(count, 1).data, x.row_range(next, 1).data, bytes);
    rows[count] = static_cast<int32_t>(next);
    targets[count++] = labels[next];
  }
  return count;
}

}  // namespace

void CpuOps::do_linear_cross_entropy(Tensor loss, Tensor dx, Tensor x, Tensor head, Tensor labels,
                                     int64_t trained, Tensor gradient, LogitsIn held) {
  const Arena::Scope scope(arena());
  const bool has_dx = static_cast<bool>(dx), far = is_far(head);
  const auto scratch = cpu::CrossEntropyScratch::take(arena(), threads_, trained, x.cols, head.rows,
                                                      x.dtype, held, has_dx, far);
  const HeadTiles tiles(head.rows, cpu::vocabulary_tile);
  const auto kernel = elements(x.dtype).softmax_gradient;
  auto* softmax = reinterpret_cast<cpu::Softmax*>(scratch.softmax.as<float>());
  const int64_t per_float = static_cast<int64_t>(sizeof(float) / size_of(x.dtype));
  const size_t row_bytes = static_cast<size_t>(x.cols) * size_of(x.dtype);
  auto* targets = scratch.targets.as<int32_t>();
  auto* rows = scratch.rows.as<int32_t>();
  const auto* label = labels.as<int32_t>();

  // Near, the tile itself.
  const auto head_tile = [&](int64_t tile) {
    const Tensor whole = head.row_range(tiles.first(tile), tiles.count(tile));
    if (!far) return whole;
    const Tensor near = scratch.head.row_range(0, whole.rows);
    wait(do_fetch(near, whole));
    return near;
  };
  const auto logits_of = [&](int64_t count, int64_t tile) {
    const Tensor place = scratch.logits.row_range(held == LogitsIn::rows ? tile : 0, 1);
    return dense_tensor(place.data, count, tiles.count(tile), DType::f32);
  };
  const auto product = [&](int64_t first, int64_t count, int64_t tile, Tensor weight) {
    const Tensor logits = logits_of(count, tile);
    matmul_.run(logits, false, plain(scratch.x.row_range(first, count)), transposed(weight), {},
                scratch.workspace);
    return logits;
  };
  const auto measure = [&](int64_t first, int64_t tile, Tensor logits) {
    cpu::parallel_ranges(threads_, logits.rows, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        kernels_.softmax_tile(softmax + first + i, tile == 0, logits.row_range(i, 1).as<float>(),
                              logits.cols, targets[first + i] - tiles.first(tile));
    });
  };
  const auto differentiate = [&](int64_t first, int64_t tile, Tensor logits, Tensor weight) {
    cpu::parallel_ranges(threads_, logits.rows, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        kernel(logits.row_range(i, 1).as<float>(), logits.cols, softmax[first + i],
               targets[first + i] - tiles.first(tile), *gradient.as<float>());
    });
    const Tensor dlogits = {logits.data, logits.rows, logits.cols, logits.cols * per_float,
                            x.dtype};
    matmul_.run(scratch.dx.row_range(first, logits.rows), tile > 0, plain(dlogits), plain(weight),
                {}, scratch.workspace);
  };

  double sum = 0;
  int64_t next = 0, cleared = 0;  // rows of x looked at, rows of dx written
  while (next < x.rows) {
    // dx may be x: its rows are written only after theirs of x were read.
    const int64_t count = gather(scratch.x, targets, rows, x, label, scratch.x.rows, next);
    for (int64_t tile = 0; tile < tiles.size(); ++tile) {
      const Tensor weight = head_tile(tile);
      for_chunks(count, scratch.chunk, [&](int64_t first, int64_t chunk) {
        measure(first, tile, product(first, chunk, tile, weight));
      });
    }
    for (int64_t i = 0; i < count; ++i)
      sum += static_cast<double>(std::log(softmax[i].sum) - (softmax[i].target - softmax[i].max));
    if (!has_dx) continue;
    for (int64_t tile = 0; tile < tiles.size(); ++tile) {
      const Tensor weight = head_tile(tile);
      for_chunks(count, scratch.chunk, [&](int64_t first, int64_t chunk) {
        differentiate(
            first, tile,
            held == LogitsIn::rows ? logits_of(chunk, tile) : product(first, chunk, tile, weight),
            weight);
      });
    }
    if (x.dtype != DType::f32)
      do_convert(scratch.x.row_range(0, count), scratch.dx.row_range(0, count));
    const Tensor result = x.dtype == DType::f32 ? scratch.dx : scratch.x;
    for (int64_t i = 0; i < count; ++i) {
      for (; cleared < rows[i]; ++cleared) std::memset(dx.row_range(cleared, 1).data, 0, row_bytes);
      std::memcpy(dx.row_range(cleared++, 1).data, result.row_range(i, 1).data, row_bytes);
    }
  }
  if (has_dx)
    for (; cleared < x.rows; ++cleared) std::memset(dx.row_range(cleared, 1).data, 0, row_bytes);
  float& total = *loss.as<float>();
  total = static_cast<float>(static_cast<double>(total) + sum);
}

void CpuOps::do_logits(Tensor logits, Tensor x, Tensor head) {
  const Arena::Scope scope(arena());
  const HeadTiles tiles(head.rows, is_far(head) ? cpu::vocabulary_tile : head.rows);
  const Tensor near =
      is_far(head) ? cpu::head_tile(arena(), head.rows, head.cols, head.dtype) : Tensor{};
  const Tensor workspace = cpu::matmul_workspace(arena(), threads_);
  for (int64_t tile = 0; tile < tiles.size(); ++tile) {
    Tensor weight = head.row_range(tiles.first(tile), tiles.count(tile));
    if (near) {
      wait(do_fetch(near.row_range(0, weight.rows), weight));
      weight = near.row_range(0, weight.rows);
    }
    matmul_.run(logits.columns(tiles.first(tile), weight.rows), false, plain(x), transposed(weight),
                {}, workspace);
  }
}

}  // namespace nibble
