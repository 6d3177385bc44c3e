#include "ops/cuda/cudnn_attention.h"

#include <cudnn.h>
#include <cudnn_frontend.h>

#include <algorithm>
#include <array>
#include <compare>
#include <initializer_list>
#include <map>
#include <string>
#include <unordered_map>

#include "core/error.h"
#include "ops/cuda/attention_scratch.h"
#include "ops/cuda/check.h"
#include "ops/cuda/kernels/attention_layout.h"
#include "ops/cuda/matrix.h"

namespace nibble::cuda {
namespace {

namespace fe = cudnn_frontend;
using fe::graph::Tensor_attributes;

// What a tensor is called in a graph and in its arguments. A ragged tensor's offsets are called
// `offsets_of` more.
enum Name : int64_t { Q = 1, K, V, Out, Statistics, DOut, DQ, DK, DV, Lengths };
constexpr int64_t offsets_of = 100;

void check(fe::error_t status, const char* step) {
  if (status.is_bad()) fail(ErrorKind::io, "cuDNN attention: {}: {}", step, status.get_message());
}

void check(cudnnStatus_t status, const char* call) {
  if (status != CUDNN_STATUS_SUCCESS)
    fail(ErrorKind::no_resources, "{}: {}; cuDNN 9.12 or newer is needed", call,
         cudnnGetErrorString(status));
}

// Everything that a graph depends on.
struct Key {
  bool backward, ragged, causal;
  DType dtype;
  int64_t documents, queries, keys;  // both of a document
  int64_t heads, kv_heads, head_dim, window;
  float scale;
  std::array<int64_t, 8> strides;  // of rows: q, k, v, out, dout, dq, dk, dv
  auto operator<=>(const Key&) const = default;
};

struct Graph {
  fe::graph::Graph graph;
  int64_t workspace = 0;
};

// [documents, heads, rows, channels] of a matrix whose rows are tokens.
Tensor_attributes tensor(fe::graph::Graph& graph, const Key& key, Name name, int64_t heads,
                         int64_t channels, int64_t stride) {
  const bool of_keys = name == K || name == V || name == DK || name == DV;
  const int64_t rows = of_keys ? key.keys : key.queries;
  auto attributes = Tensor_attributes()
                        .set_uid(name)
                        .set_dim({key.documents, heads, rows, channels})
                        .set_stride({rows * stride, channels, stride, 1});
  if (name == Statistics) attributes.set_data_type(fe::DataType_t::FLOAT);
  if (key.ragged)
    attributes.set_ragged_offset(graph.tensor(Tensor_attributes()
                                                  .set_uid(offsets_of + name)
                                                  .set_dim({key.documents + 1, 1, 1, 1})
                                                  .set_stride({1, 1, 1, 1})
                                                  .set_data_type(fe::DataType_t::INT64)));
  return attributes;
}

// The mask, which forward and backward share; `length` is empty for a dense batch.
template <typename Attributes>
void set_mask(Attributes& attributes, const Key& key,
              const std::shared_ptr<Tensor_attributes>& length) {
  attributes.set_attn_scale(key.scale);
  if (key.causal)
    attributes.set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
        .set_diagonal_band_right_bound(0);
  if (key.window > 0) attributes.set_diagonal_band_left_bound(static_cast<int>(key.window));
  if (length) attributes.set_padding_mask(true).set_seq_len_q(length).set_seq_len_kv(length);
}

void add_forward(fe::graph::Graph& graph, const Key& key) {
  const int64_t d = key.head_dim;
  const auto q = graph.tensor(tensor(graph, key, Q, key.heads, d, key.strides[0]));
  const auto k = graph.tensor(tensor(graph, key, K, key.kv_heads, d, key.strides[1]));
  const auto v = graph.tensor(tensor(graph, key, V, key.kv_heads, d, key.strides[2]));
  std::shared_ptr<Tensor_attributes> lengths;
  if (key.ragged)
    lengths = graph.tensor(Tensor_attributes()
                               .set_uid(Lengths)
                               .set_dim({key.documents, 1, 1, 1})
                               .set_stride({1, 1, 1, 1})
                               .set_data_type(fe::DataType_t::INT32));
  fe::graph::SDPA_attributes attributes;
  attributes.set_name("attention").set_generate_stats(true);
  set_mask(attributes, key, lengths);
  const auto [out, statistics] = graph.sdpa(q, k, v, attributes);
  *out = tensor(graph, key, Out, key.heads, d, key.strides[3]).set_output(true);
  *statistics = tensor(graph, key, Statistics, key.heads, 1, key.heads).set_output(true);
}

void add_backward(fe::graph::Graph& graph, const Key& key) {
  const int64_t d = key.head_dim;
  const auto input = [&](Name name, int64_t heads, int64_t stride) {
    return graph.tensor(tensor(graph, key, name, heads, d, stride));
  };
  const auto q = input(Q, key.heads, key.strides[0]), k = input(K, key.kv_heads, key.strides[1]),
             v = input(V, key.kv_heads, key.strides[2]),
             out = input(Out, key.heads, key.strides[3]),
             dout = input(DOut, key.heads, key.strides[4]);
  // Before 9.26 cuDNN reads statistics by head only.
  const auto statistics = graph.tensor(Tensor_attributes()
                                           .set_uid(Statistics)
                                           .set_dim({key.documents, key.heads, key.queries, 1})
                                           .set_stride({key.heads * key.queries, key.queries, 1, 1})
                                           .set_data_type(fe::DataType_t::FLOAT));
  fe::graph::SDPA_backward_attributes attributes;
  attributes.set_name("attention backward").set_deterministic_algorithm(true);
  set_mask(attributes, key, nullptr);
  const auto [dq, dk, dv] = graph.sdpa_backward(q, k, v, out, dout, statistics, attributes);
  *dq = tensor(graph, key, DQ, key.heads, d, key.strides[5]).set_output(true);
  *dk = tensor(graph, key, DK, key.kv_heads, d, key.strides[6]).set_output(true);
  *dv = tensor(graph, key, DV, key.kv_heads, d, key.strides[7]).set_output(true);
}

Key key_of(const AttentionProblem& a) {
  Key key{};
  key.causal = true;
  key.dtype = a.q.dtype;
  key.heads = a.heads;
  key.kv_heads = a.kv_heads;
  key.head_dim = a.head_dim;
  key.window = a.window < a.longest_keys ? a.window : 0;
  key.scale = a.scale;
  key.strides = {a.q.stride, a.k.stride, a.v.stride};
  return key;
}

// Rows of 16-byte chunks, as cuDNN reads and writes them.
bool in_chunks(std::initializer_list<Matrix> operands) {
  return std::all_of(operands.begin(), operands.end(), [](const Matrix& x) {
    return x.stride % 8 == 0 && reinterpret_cast<uintptr_t>(x.data) % 16 == 0;
  });
}

}  // namespace

struct CudnnAttention::Graphs {
  cudnnHandle_t handle = nullptr;
  std::map<Key, Graph> built;

  explicit Graphs(cudaStream_t stream) {
    check(cudnnCreate(&handle), "cudnnCreate");
    check(cudnnSetStream(handle, stream), "cudnnSetStream");
  }
  ~Graphs() { cudnnDestroy(handle); }
  Graphs(const Graphs&) = delete;
  Graphs& operator=(const Graphs&) = delete;

  Graph& find(const Key& key) {
    if (const auto found = built.find(key); found != built.end()) return found->second;
    Graph result;
    fe::graph::Graph& graph = result.graph;
    graph
        .set_io_data_type(key.dtype == DType::bf16 ? fe::DataType_t::BFLOAT16
                                                   : fe::DataType_t::HALF)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    key.backward ? add_backward(graph, key) : add_forward(graph, key);
    check(graph.build(handle, {fe::HeurMode_t::A}), "building a graph");
    check(graph.get_workspace_size(result.workspace), "asking for the size of the workspace");
    return built.emplace(key, std::move(result)).first->second;
  }
  void run(Graph& graph, std::unordered_map<int64_t, void*>& arguments, Pieces& pieces) {
    check(graph.graph.execute(handle, arguments, pieces.take(graph.workspace)), "running a graph");
  }
};

CudnnAttention::CudnnAttention(cudaStream_t stream)
    : graphs_(std::make_unique<Graphs>(stream)), stream_(stream) {}
CudnnAttention::~CudnnAttention() = default;

void CudnnAttention::forward(const Matrix& out, float* lse, const AttentionProblem& a,
                             void* workspace, int64_t bytes) {
  if (!in_chunks({out, a.q, a.k, a.v})) {
    attention_forward(out, lse, a, stream_);
    return check_launch("attention_forward");
  }
  const CudnnBatch batch = cudnn_batch(a.documents, a.q.rows, a.longest_queries);
  Key key = key_of(a);
  key.ragged = batch.ragged;
  key.documents = batch.documents;
  key.queries = key.keys = batch.length;
  key.strides[3] = out.stride;
  Graph& graph = graphs_->find(key);
  Pieces pieces(workspace, bytes);
  std::unordered_map<int64_t, void*> arguments = {
      {Q, a.q.data}, {K, a.k.data}, {V, a.v.data}, {Out, out.data}, {Statistics, lse}};
  if (batch.ragged) {
    const RowStrides strides = {{a.q.stride, a.k.stride, a.v.stride, out.stride, a.heads}, 5};
    auto* lengths = static_cast<int32_t*>(pieces.take(4 * batch.documents));
    auto* offsets = static_cast<int64_t*>(pieces.take(8 * strides.count * (batch.documents + 1)));
    ragged_layout(lengths, offsets, a.query_offsets, a.documents, batch.documents, strides,
                  stream_);
    arguments[Lengths] = lengths;
    for (int64_t i = 0; i < strides.count; ++i)
      arguments[offsets_of + Q + i] = offsets + i * (batch.documents + 1);
  }
  graphs_->run(graph, arguments, pieces);
  check_launch("attention layout");
}

CudnnAttention::Operands CudnnAttention::Operands::of_heads(int64_t first, int64_t count,
                                                            const AttentionProblem& a) const {
  const int64_t d = a.head_dim, group = a.heads / a.kv_heads;
  const auto of_queries = [&](const Matrix& x) {
    return columns_of(x, first * group * d, count * group * d);
  };
  const auto of_keys = [&](const Matrix& x) { return columns_of(x, first * d, count * d); };
  return {of_queries(q), of_queries(out), of_queries(dout), of_queries(dq),
          of_keys(k),    of_keys(v),      of_keys(dk),      of_keys(dv)};
}

CudnnAttention::Operands CudnnAttention::Operands::of_rows(int64_t query, int64_t queries,
                                                           int64_t key, int64_t keys) const {
  const auto of_queries = [&](const Matrix& x) { return rows_of(x, query, queries); };
  const auto of_keys = [&](const Matrix& x) { return rows_of(x, key, keys); };
  return {of_queries(q), of_queries(out), of_queries(dout), of_queries(dq),
          of_keys(k),    of_keys(v),      of_keys(dk),      of_keys(dv)};
}

void CudnnAttention::call_backward(const Operands& o, const float* statistics, int64_t documents,
                                   bool causal, const AttentionProblem& a, Pieces pieces) {
  Key key = key_of(a);
  key.backward = true;
  key.causal = causal;
  key.documents = documents;
  key.queries = o.q.rows / documents;
  key.keys = o.k.rows / documents;
  key.heads = o.q.cols / a.head_dim;
  key.kv_heads = o.k.cols / a.head_dim;
  key.strides = {o.q.stride,    o.k.stride,  o.v.stride,  o.out.stride,
                 o.dout.stride, o.dq.stride, o.dk.stride, o.dv.stride};
  std::unordered_map<int64_t, void*> arguments = {
      {Q, o.q.data},     {K, o.k.data},       {V, o.v.data},
      {Out, o.out.data}, {DOut, o.dout.data}, {Statistics, const_cast<float*>(statistics)},
      {DQ, o.dq.data},   {DK, o.dk.data},     {DV, o.dv.data}};
  graphs_->run(graphs_->find(key), arguments, pieces);
}

void CudnnAttention::backward(const Matrix& dq, const Matrix& dk, const Matrix& dv,
                              const Matrix& dout, const Matrix& out, const float* lse,
                              const AttentionProblem& a, void* workspace, int64_t bytes,
                              const CudnnLimits& limits) {
  const CudnnBatch batch = cudnn_batch(a.documents, a.q.rows, a.longest_queries);
  if (batch.ragged)
    fail(ErrorKind::internal, "cuDNN attention: got documents that are no dense batch");
  Pieces pieces(workspace, bytes);
  auto* statistics = static_cast<float*>(pieces.take(4 * a.q.rows * a.heads));
  if (!in_chunks({dq, dk, dv, dout, out, a.q, a.k, a.v})) {
    float* delta = statistics;
    attention_backward(dq, dk, dv, dout, out, lse, delta, a, stream_);
    return check_launch("attention_backward");
  }
  const AttentionShape shape{a.heads, a.kv_heads, a.head_dim, a.scale, a.window};
  const CudnnPart part = cudnn_backward_part(batch.documents, batch.length, shape, limits);
  const bool blocks = part.rows < batch.length;
  if (blocks && key_of(a).window > 0)
    fail(ErrorKind::internal, "cuDNN attention: got a window of {} in documents of {} tokens",
         a.window, batch.length);
  const Operands all = {a.q, out, dout, dq, a.k, a.v, dk, dv};
  for (int64_t document = 0; document < batch.documents; document += part.documents) {
    const int64_t documents = std::min(part.documents, batch.documents - document);
    const int64_t row = document * batch.length, rows = documents * batch.length;
    float* const by_head = statistics + row * a.heads;
    // Of each block's queries as of a document's; those of the last block may be fewer.
    const int64_t equal = rows / part.rows, rest = rows % part.rows;
    statistics_by_head(by_head, lse + row * a.heads, equal, part.rows, a.heads, stream_);
    if (rest > 0)
      statistics_by_head(by_head + (rows - rest) * a.heads, lse + (row + rows - rest) * a.heads, 1,
                         rest, a.heads, stream_);
    for (int64_t head = 0; head < a.kv_heads; head += part.kv_heads) {
      const int64_t heads = std::min(part.kv_heads, a.kv_heads - head);
      const int64_t query_head = head * (a.heads / a.kv_heads);
      const Operands operands = all.of_rows(row, rows, row, rows).of_heads(head, heads, a);
      if (blocks)
        backward_in_blocks(operands, by_head, query_head, part.rows, a, pieces);
      else
        call_backward(operands, by_head + query_head * batch.length, documents, true, a, pieces);
    }
  }
  check_launch("attention statistics");
}

}  // namespace nibble::cuda
