#include "ops/cuda/scratch.h"

#include <algorithm>
#include <array>

#include "ops/cuda/attention_scratch.h"
#include "ops/head_tiles.h"

namespace nibble::cuda {
namespace {

Tensor take(Arena& arena, int64_t rows, int64_t cols, DType dtype, const char* name) {
  return arena.tensor(rows, cols, dtype, MemoryUse::working_set, name);
}

// A single dense weight without an adapter is used where it lies.
bool serves_itself(const LinearGroup& group) {
  return group.linears.size() == 1 && group.tail() == 0 && group.linears[0].weight.dense;
}

// cuDNN reads rows from 16-byte addresses.
bool aligned(std::span<const Tensor> matrices) {
  return std::ranges::all_of(matrices, [](Tensor x) {
    return reinterpret_cast<uintptr_t>(x.data) % 16 == 0 &&
           x.stride * static_cast<int64_t>(size_of(x.dtype)) % 16 == 0;
  });
}

}  // namespace

bool has_dropout(const LinearGroup& group) {
  return std::ranges::any_of(group.linears, [](const LoraLinear& linear) {
    return linear.lora && linear.lora.dropout > 0;
  });
}

bool few_tokens(int64_t tokens, const LinearGroup& group) {
  return tokens <= most_few_tokens && group.linears.size() <= most_few_layers &&
         !has_dropout(group) && std::ranges::all_of(group.linears, [](const LoraLinear& linear) {
           return static_cast<bool>(linear.weight.quantized);
         });
}

Tensor matmul_workspace(Arena& arena) {
  return take(arena, 1, int64_t{32} << 20, DType::u8, "matmul workspace");
}

Tensor stacked_weights(Arena& arena, int64_t rows, DType compute, const LinearGroup& group) {
  if (few_tokens(rows, group) || serves_itself(group)) return {};
  return take(arena, group.out_features() + group.tail(), group.in_features() + group.tail(),
              compute, "dequantized weights");
}

LoraLinearForwardScratch LoraLinearForwardScratch::take(Arena& arena, int64_t tokens, DType compute,
                                                        bool has_y, const LinearGroup& group) {
  LoraLinearForwardScratch s;
  if (few_tokens(tokens, group)) return s;
  const int64_t in = group.in_features(), out = group.out_features(), tail = group.tail();
  if (!group.prepared)
    s.weights = has_y ? stacked_weights(arena, tokens, compute, group)
                      : cuda::take(arena, tail, in + tail, compute, "adapters A");
  if (has_y && group.linears.size() > 1 &&
      std::ranges::any_of(group.linears, [](const LoraLinear& l) { return bool{l.weight.bias}; }))
    s.bias = cuda::take(arena, 1, out, compute, "biases");
  if (has_dropout(group)) s.x = cuda::take(arena, tokens, in, compute, "input after dropout");
  s.workspace = matmul_workspace(arena);
  return s;
}

LoraLinearBackwardScratch LoraLinearBackwardScratch::take(Arena& arena, int64_t tokens,
                                                          DType compute, const LinearGroup& group) {
  LoraLinearBackwardScratch s;
  const int64_t in = group.in_features(), out = group.out_features(), tail = group.tail();
  if (!group.prepared && !serves_itself(group))
    s.weights = cuda::take(arena, out + tail, in + tail, compute, "dequantized weights");
  if (tail > 0) {
    s.gradient_a = cuda::take(arena, tail, in, DType::f32, "gradient of A");
    s.gradient_b = cuda::take(arena, out, tail, DType::f32, "gradient of B");
  }
  if (has_dropout(group)) s.x = cuda::take(arena, tokens, in, compute, "input after dropout");
  s.workspace = matmul_workspace(arena);
  return s;
}

int64_t longest_of(std::span<const int32_t> offsets) {
  int32_t most = 0;
  for (size_t i = 1; i < offsets.size(); ++i) most = std::max(most, offsets[i] - offsets[i - 1]);
  return most;
}

AttentionScratch AttentionScratch::take_forward(Arena& arena, Tensor out, Tensor q, Tensor k,
                                                Tensor v, const Documents& documents,
                                                const AttentionShape& shape) {
  AttentionScratch s;
  if (cudnn_supports_forward(q.dtype, q.rows, k.rows, shape) && aligned(std::array{out, q, k, v}))
    s.cudnn = cuda::take(
        arena, 1,
        cudnn_forward_bytes(documents.count(), q.rows, longest_of(documents.query_offsets)),
        DType::u8, "cuDNN attention");
  return s;
}

AttentionScratch AttentionScratch::take_backward(Arena& arena, std::span<const Tensor> matrices,
                                                 const Documents& documents,
                                                 const AttentionShape& shape) {
  AttentionScratch s;
  const int64_t longest = longest_of(documents.query_offsets);
  const Tensor &q = matrices[0], &k = matrices[1];
  if (cudnn_supports_backward(q.dtype, q.rows, k.rows, documents.count(), longest, shape) &&
      aligned(matrices)) {
    s.cudnn = cuda::take(arena, 1, cudnn_backward_bytes(documents.count(), longest, shape),
                         DType::u8, "cuDNN attention");
    s.in_blocks = cudnn_backward_part(documents.count(), longest, shape).rows < longest;
  } else {
    s.delta = cuda::take(arena, q.rows, shape.heads, DType::f32, "attention delta");
  }
  return s;
}

Tensor head_tiles(Arena& arena, int64_t vocabulary, int64_t features, DType compute) {
  return take(arena, 2 * HeadTiles(vocabulary, vocabulary_tile).width(), features, compute,
              "tiles of the head");
}

CrossEntropyScratch CrossEntropyScratch::take(Arena& arena, int64_t trained, int64_t features,
                                              int64_t vocabulary, DType compute, LogitsIn held,
                                              bool has_dx, bool far) {
  // A chunk has enough rows to fill the device with tiles, in both products; a far head passes by
  // twice for each `most_chunks` of them.
  constexpr int64_t most_rows = 1024, most_chunks = 8;
  constexpr int64_t most_bytes = int64_t{1} << 30;
  const HeadTiles tiles(vocabulary, vocabulary_tile);
  const int64_t known = std::max<int64_t>(trained, 1);
  CrossEntropyScratch s;
  s.chunk = std::clamp<int64_t>(most_bytes / (4 * vocabulary), 1, std::min(most_rows, known));
  const int64_t rows = held == LogitsIn::rows ? s.chunk : std::min(most_chunks * s.chunk, known);
  s.rows = cuda::take(arena, 1, known, DType::i32, "trained rows");
  s.targets = cuda::take(arena, 1, known, DType::i32, "targets");
  s.x = cuda::take(arena, rows, features, compute, "head input");
  if (has_dx) s.dx = cuda::take(arena, rows, features, DType::f32, "gradient of the head's input");
  s.softmax = cuda::take(arena, rows, 3, DType::f32, "softmax");
  s.losses = cuda::take(arena, 1, rows, DType::f32, "losses");
  s.logits = cuda::take(arena, held == LogitsIn::rows ? tiles.size() : 1, s.chunk * tiles.width(),
                        DType::f32, "logits");
  if (far) s.head = head_tiles(arena, vocabulary, features, compute);
  s.workspace = matmul_workspace(arena);
  return s;
}

Tensor double_partials(Arena& arena, int64_t n) {
  return take(arena, 1, 8 * std::max<int64_t>(n, 1), DType::u8, "partial sums");
}

Tensor moment_maps(Arena& arena) { return take(arena, 2, 256, DType::f32, "moment maps"); }

}  // namespace nibble::cuda
