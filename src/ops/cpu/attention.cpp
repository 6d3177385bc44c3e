// Causal attention within documents. Work is cut into (document, head, tile) tasks, each of which
// writes only its own rows; backward makes one pass over queries for dq and one over keys for dk,
// dv.
#include <algorithm>

#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/scratch.h"

namespace nibble {

using cpu::attention_tile;
using cpu::AttentionTile;

namespace {

int64_t tiles_of(std::span<const int32_t> offsets, size_t document) {
  return (offsets[document + 1] - offsets[document] + attention_tile - 1) / attention_tile;
}

// A task is one tile of one head of one document, and its index in that order: neighbours share
// their keys. The last tile of a document comes first, since it sees the most of them.
int64_t task_count(std::span<const int32_t> offsets, int64_t heads) {
  int64_t tiles = 0;
  for (size_t i = 0; i + 1 < offsets.size(); ++i) tiles += tiles_of(offsets, i);
  return tiles * heads;
}
struct Task {
  int64_t document, head, tile;
};
Task find_task(std::span<const int32_t> offsets, int64_t heads, int64_t index) {
  for (size_t i = 0;; ++i) {
    const int64_t tiles = tiles_of(offsets, i);
    if (index < tiles * heads)
      return {static_cast<int64_t>(i), index / tiles, tiles - 1 - index % tiles};
    index -= tiles * heads;
  }
}

struct Pass {
  const Documents& documents;
  const AttentionShape& shape;
  Tensor q, k, v, dout, lse, delta;
  Tensor scratch;

  // Everything about a document and head but the tile.
  AttentionTile document(int64_t index, int64_t head, int64_t kv_head, int thread) const {
    const auto i = static_cast<size_t>(index);
    const int64_t first_query = documents.query_offsets[i];
    const int64_t first_key = documents.key_offsets[i];
    const int64_t d = shape.head_dim;
    AttentionTile t{};
    t.queries = documents.query_offsets[i + 1] - first_query;
    t.keys = documents.key_offsets[i + 1] - first_key;
    t.first_position = t.keys - t.queries;
    t.head_dim = d;
    t.window = shape.window;
    t.scale = shape.scale;
    t.group = shape.heads / shape.kv_heads;
    t.q = at(q, first_query, head * d);
    t.q_stride = q.stride;
    t.k = at(k, first_key, kv_head * d);
    t.k_stride = k.stride;
    t.v = at(v, first_key, kv_head * d);
    t.v_stride = v.stride;
    t.lse = static_cast<float*>(at(lse, first_query, head));
    t.stat_stride = lse.stride;
    if (dout) {
      t.dout = at(dout, first_query, head * d);
      t.dout_stride = dout.stride;
      t.delta = static_cast<const float*>(at(delta, first_query, head));
    }
    t.scratch = scratch.row_range(thread, 1).as<float>();
    return t;
  }

  static void* at(Tensor x, int64_t row, int64_t col) {
    return x.row_range(row, 1).columns(col, 1).data;
  }
};

// Narrows a document to one tile of its queries.
void select_queries(AttentionTile& t, int64_t tile, DType dtype) {
  const int64_t begin = tile * attention_tile;
  const auto move = [&](const void* p, int64_t stride) {
    return static_cast<const std::byte*>(p) + begin * stride * static_cast<int64_t>(size_of(dtype));
  };
  t.q = move(t.q, t.q_stride);
  if (t.dout) {
    t.dout = move(t.dout, t.dout_stride);
    t.delta += begin * t.stat_stride;
  }
  t.lse += begin * t.stat_stride;
  t.first_position += begin;
  t.queries = std::min(attention_tile, t.queries - begin);
}

}  // namespace

void CpuOps::do_attention_forward(Tensor out, Tensor lse, Tensor q, Tensor k, Tensor v,
                                  const Documents& documents, const AttentionShape& shape) {
  const Arena::Scope scope(arena());
  const auto scratch = cpu::AttentionScratch::take_forward(arena(), threads_, shape);
  const Pass pass{documents, shape, q, k, v, {}, lse, {}, scratch.tiles};
  const auto kernel = elements(q.dtype).attention_forward;
  cpu::parallel_tasks(
      threads_, task_count(documents.query_offsets, shape.heads), [&](int64_t task, int thread) {
        const auto [document, head, tile] = find_task(documents.query_offsets, shape.heads, task);
        AttentionTile t =
            pass.document(document, head, head * shape.kv_heads / shape.heads, thread);
        select_queries(t, tile, q.dtype);
        const int64_t row =
            documents.query_offsets[static_cast<size_t>(document)] + tile * attention_tile;
        t.out = Pass::at(out, row, head * shape.head_dim);
        t.out_stride = out.stride;
        kernel(t);
      });
}

void CpuOps::do_attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor dout, Tensor out,
                                   Tensor lse, Tensor q, Tensor k, Tensor v,
                                   const Documents& documents, const AttentionShape& shape) {
  const Arena::Scope scope(arena());
  const auto scratch = cpu::AttentionScratch::take_backward(arena(), threads_, q.rows, shape);
  const cpu::ElementKernels& kernels = elements(q.dtype);
  const int64_t d = shape.head_dim;

  // delta = sum over channels of dout * out, of each token and head (Dao 2023, algorithm 2).
  cpu::parallel_ranges(threads_, q.rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      for (int64_t head = 0; head < shape.heads; ++head)
        scratch.delta.row_range(r, 1).as<float>()[head] =
            kernels.dot(Pass::at(dout, r, head * d), Pass::at(out, r, head * d), d);
  });

  const Pass pass{documents, shape, q, k, v, dout, lse, scratch.delta, scratch.tiles};
  cpu::parallel_tasks(
      threads_, task_count(documents.query_offsets, shape.heads), [&](int64_t task, int thread) {
        const auto [document, head, tile] = find_task(documents.query_offsets, shape.heads, task);
        AttentionTile t =
            pass.document(document, head, head * shape.kv_heads / shape.heads, thread);
        select_queries(t, tile, q.dtype);
        const int64_t row =
            documents.query_offsets[static_cast<size_t>(document)] + tile * attention_tile;
        t.dq = Pass::at(dq, row, head * d);
        t.dq_stride = dq.stride;
        kernels.attention_backward_queries(t);
      });

  cpu::parallel_tasks(
      threads_, task_count(documents.key_offsets, shape.kv_heads), [&](int64_t task, int thread) {
        const auto [document, kv_head, tile] =
            find_task(documents.key_offsets, shape.kv_heads, task);
        const int64_t first_head = kv_head * (shape.heads / shape.kv_heads);
        AttentionTile t = pass.document(document, first_head, kv_head, thread);
        t.key_begin = tile * attention_tile;
        t.key_count = std::min(attention_tile, t.keys - t.key_begin);
        const int64_t first_key = documents.key_offsets[static_cast<size_t>(document)];
        t.dk = Pass::at(dk, first_key, kv_head * d);
        t.dv = Pass::at(dv, first_key, kv_head * d);
        t.dk_stride = dk.stride;
        t.dv_stride = dv.stride;
        kernels.attention_backward_keys(t);
      });
}

}  // namespace nibble
