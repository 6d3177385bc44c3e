#include "ops/cuda/scratch.h"

#include <algorithm>

namespace nibble::cuda {
namespace {

Tensor take(Arena& arena, int64_t rows, int64_t cols, DType dtype, const char* name) {
  return arena.tensor(rows, cols, dtype, MemoryUse::working_set, name);
}

// A single dense weight without an adapter is used where it lies.
bool serves_itself(const LinearGroup& group) {
  return group.linears.size() == 1 && group.tail() == 0 && group.linears[0].weight.dense;
}

}  // namespace

bool has_dropout(const LinearGroup& group) {
  return std::ranges::any_of(group.linears, [](const LoraLinear& linear) {
    return linear.lora && linear.lora.dropout > 0;
  });
}

Tensor matmul_workspace(Arena& arena) {
  return take(arena, 1, int64_t{32} << 20, DType::u8, "matmul workspace");
}

LoraLinearForwardScratch LoraLinearForwardScratch::take(Arena& arena, int64_t tokens, DType compute,
                                                        bool has_y, const LinearGroup& group) {
  LoraLinearForwardScratch s;
  const int64_t in = group.in_features(), out = group.out_features(), tail = group.tail();
  if (has_y && !serves_itself(group))
    s.weight = cuda::take(arena, out, in + tail, compute, "dequantized weight");
  if (has_y && group.linears.size() > 1 &&
      std::ranges::any_of(group.linears, [](const LoraLinear& l) { return bool{l.weight.bias}; }))
    s.bias = cuda::take(arena, 1, out, compute, "biases");
  if (tail > 0) s.a = cuda::take(arena, tail, in, compute, "adapter A");
  if (has_dropout(group)) s.x = cuda::take(arena, tokens, in, compute, "input after dropout");
  s.workspace = matmul_workspace(arena);
  return s;
}

LoraLinearBackwardScratch LoraLinearBackwardScratch::take(Arena& arena, int64_t tokens,
                                                          DType compute, bool has_dx,
                                                          const LinearGroup& group) {
  LoraLinearBackwardScratch s;
  const int64_t in = group.in_features(), out = group.out_features(), tail = group.tail();
  if (has_dx && !serves_itself(group))
    s.weight = cuda::take(arena, out + tail, in, compute, "dequantized weight");
  if (tail > 0) {
    s.b = cuda::take(arena, out, tail, compute, "adapter B");
    s.gradient_a = cuda::take(arena, tail, in, DType::f32, "gradient of A");
    s.gradient_b = cuda::take(arena, out, tail, DType::f32, "gradient of B");
  }
  if (has_dropout(group)) s.x = cuda::take(arena, tokens, in, compute, "input after dropout");
  s.workspace = matmul_workspace(arena);
  return s;
}

AttentionScratch AttentionScratch::take_forward(Arena& arena, int64_t documents) {
  AttentionScratch s;
  s.offsets = cuda::take(arena, 2, documents + 1, DType::i32, "document offsets");
  return s;
}

AttentionScratch AttentionScratch::take_backward(Arena& arena, int64_t documents, int64_t queries,
                                                 const AttentionShape& shape) {
  AttentionScratch s = take_forward(arena, documents);
  s.delta = cuda::take(arena, queries, shape.heads, DType::f32, "attention delta");
  return s;
}

CrossEntropyScratch CrossEntropyScratch::take(Arena& arena, int64_t trained, int64_t features,
                                              int64_t vocabulary, DType compute) {
  // Enough rows to fill the device with tiles, in both products.
  constexpr int64_t most_rows = 1024;
  constexpr int64_t most_bytes = int64_t{1} << 30;
  const int64_t rows = std::clamp<int64_t>(most_bytes / (4 * vocabulary), 1,
                                           std::min(most_rows, std::max<int64_t>(trained, 1)));
  CrossEntropyScratch s;
  s.rows = cuda::take(arena, 1, std::max<int64_t>(trained, 1), DType::i32, "trained rows");
  s.targets = cuda::take(arena, 1, std::max<int64_t>(trained, 1), DType::i32, "targets");
  s.x = cuda::take(arena, rows, features, compute, "head input");
  s.logits = cuda::take(arena, rows, vocabulary, DType::f32, "logits");
  s.losses = cuda::take(arena, 1, rows, DType::f32, "losses");
  s.workspace = matmul_workspace(arena);
  return s;
}

Tensor double_partials(Arena& arena, int64_t n) {
  return take(arena, 1, 8 * std::max<int64_t>(n, 1), DType::u8, "partial sums");
}

Tensor moment_maps(Arena& arena) { return take(arena, 2, 256, DType::f32, "moment maps"); }

}  // namespace nibble::cuda
