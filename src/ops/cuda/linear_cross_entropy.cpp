// Output head and loss, in chunks of trained rows and tiles of the vocabulary: a masked token costs
// nothing, and the full logits never exist.
//
// Every product is one of a chunk with a tile, the softmax's denominators and the gradient of x are
// added up tile by tile: so that the bits are the same whether a chunk's tiles are all held, or one
// at a time and computed again for the gradient.
#include <algorithm>

#include "ops/cuda/check.h"
#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/matrix.h"
#include "ops/cuda/scratch.h"
#include "ops/head_tiles.h"

namespace nibble {

using cuda::check_launch;
using cuda::matrix;
using cuda::plain;
using cuda::transposed;

// The tiles of a head in the order of their use, near: a far one is fetched while the tile before
// it is worked on.
class CudaOps::HeadReader {
 public:
  HeadReader(CudaOps& ops, Tensor head, Tensor slots, const HeadTiles& tiles, int64_t passes)
      : ops_(ops), head_(head), slots_(slots), tiles_(tiles), reads_(passes * tiles.size()) {
    if (slots) fetch(0);
  }
  // The next tile; the one before is no longer used.
  Tensor next() {
    const int64_t read = next_++;
    const Tensor tile = place(read);
    if (!slots_) return tile;
    if (next_ < reads_) fetch(next_);
    ops_.do_wait(tickets_[read % 2]);
    return tile;
  }

 private:
  Tensor place(int64_t read) const {
    const int64_t tile = read % tiles_.size();
    return slots_ ? slots_.row_range(read % 2 * tiles_.width(), tiles_.count(tile))
                  : head_.row_range(tiles_.first(tile), tiles_.count(tile));
  }
  void fetch(int64_t read) {
    const int64_t tile = read % tiles_.size();
    tickets_[read % 2] =
        ops_.do_fetch(place(read), head_.row_range(tiles_.first(tile), tiles_.count(tile)));
  }

  CudaOps& ops_;
  Tensor head_, slots_;
  const HeadTiles& tiles_;
  int64_t reads_, next_ = 0;
  Ticket tickets_[2];
};

void CudaOps::do_linear_cross_entropy(Tensor loss, Tensor dx, Tensor x, Tensor head, Tensor labels,
                                      int64_t trained, Tensor gradient, LogitsIn held) {
  const Arena::Scope scope(arena());
  const bool has_dx = static_cast<bool>(dx);
  const auto scratch = cuda::CrossEntropyScratch::take(arena(), trained, x.cols, head.rows, x.dtype,
                                                       held, has_dx, is_far(head));
  const HeadTiles tiles(head.rows, cuda::vocabulary_tile);
  const auto* rows = scratch.rows.as<int32_t>();
  const auto* targets = scratch.targets.as<int32_t>();
  auto* softmax = reinterpret_cast<cuda::Softmax*>(scratch.softmax.as<float>());
  const auto logits_of = [&](int64_t count, int64_t tile) {
    const Tensor place = scratch.logits.row_range(held == LogitsIn::rows ? tile : 0, 1);
    return dense_tensor(place.data, count, tiles.count(tile), DType::f32);
  };
  const auto view = [&](Tensor logits, int64_t tile) {
    return cuda::LogitsTile{logits.as<float>(), logits.rows, logits.cols, tiles.first(tile)};
  };
  const auto product = [&](int64_t first, Tensor logits, Tensor weight) {
    const Span timed = span("logits product");
    matmul_.run(logits, {}, plain(scratch.x.row_range(first, logits.rows)), transposed(weight), {},
                scratch.workspace);
  };

  cuda::trained_rows(scratch.rows.as<int32_t>(), scratch.targets.as<int32_t>(),
                     labels.as<int32_t>(), x.rows, trained, stream_);
  check_launch("trained_rows");
  // dx may be x: then the masked rows are cleared last, and the trained ones replaced in turn.
  if (dx && dx.data != x.data) do_zero(dx);
  for_chunks(trained, scratch.x.rows, [&](int64_t begin, int64_t count) {
    const Tensor input = scratch.x.row_range(0, count);
    const int32_t* labels_here = targets + begin;
    cuda::gather_rows(matrix(input), matrix(x), rows + begin, count, stream_);
    check_launch("gather_rows");
    HeadReader reader(*this, head, scratch.head, tiles, has_dx ? 2 : 1);
    for (int64_t tile = 0; tile < tiles.size(); ++tile) {
      const Tensor weight = reader.next();
      for_chunks(count, scratch.chunk, [&](int64_t first, int64_t chunk) {
        const Tensor logits = logits_of(chunk, tile);
        product(first, logits, weight);
        cuda::add_to_softmax(softmax + first, view(logits, tile), labels_here + first, stream_);
        check_launch("add_to_softmax");
      });
    }
    cuda::softmax_losses(scratch.losses.as<float>(), softmax, count, stream_);
    check_launch("softmax_losses");
    for_chunks(count, scratch.chunk, [&](int64_t first, int64_t chunk) {
      cuda::add_sum(loss.as<float>(), scratch.losses.as<float>() + first, chunk, stream_);
      check_launch("add_sum");
    });
    if (!has_dx) return;
    for (int64_t tile = 0; tile < tiles.size(); ++tile) {
      const Tensor weight = reader.next();
      for_chunks(count, scratch.chunk, [&](int64_t first, int64_t chunk) {
        const Tensor logits = logits_of(chunk, tile);
        if (held == LogitsIn::tiles) product(first, logits, weight);
        cuda::softmax_gradient(view(logits, tile), softmax + first, labels_here + first,
                               gradient.as<float>(), x.dtype, stream_);
        check_launch("softmax_gradient");
        const int64_t per_float = static_cast<int64_t>(sizeof(float) / size_of(x.dtype));
        const Tensor dlogits = {logits.data, chunk, logits.cols, logits.cols * per_float, x.dtype};
        const Tensor sum = scratch.dx.row_range(first, chunk);
        const Span timed = span("gradient product");
        matmul_.run(sum, tile > 0 ? sum : Tensor{}, plain(dlogits), plain(weight), {},
                    scratch.workspace);
      });
    }
    do_convert(input, scratch.dx.row_range(0, count));
    cuda::scatter_rows(matrix(dx), matrix(input), rows + begin, count, stream_);
    check_launch("scatter_rows");
  });
  if (dx && dx.data == x.data) {
    cuda::zero_masked_rows(matrix(dx), labels.as<int32_t>(), stream_);
    check_launch("zero_masked_rows");
  }
}

void CudaOps::do_logits(Tensor logits, Tensor x, Tensor head) {
  const Arena::Scope scope(arena());
  const bool far = is_far(head);
  const Tensor slots = far ? cuda::head_tiles(arena(), head.rows, head.cols, head.dtype) : Tensor{};
  const Tensor workspace = cuda::matmul_workspace(arena());
  const HeadTiles tiles(head.rows, far ? cuda::vocabulary_tile : head.rows);
  HeadReader reader(*this, head, slots, tiles, 1);
  for (int64_t tile = 0; tile < tiles.size(); ++tile)
    matmul_.run(logits.columns(tiles.first(tile), tiles.count(tile)), {}, plain(x),
                transposed(reader.next()), {}, workspace);
}

}  // namespace nibble
