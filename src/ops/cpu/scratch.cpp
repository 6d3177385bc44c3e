#include "ops/cpu/scratch.h"

#include <algorithm>

#include "ops/cpu/kernels/kernels.h"

namespace nibble::cpu {
namespace {

Tensor take(Arena& arena, int64_t rows, int64_t cols, DType dtype, const char* name) {
  return arena.tensor(rows, cols, dtype, MemoryUse::working_set, name);
}

}  // namespace

Tensor matmul_workspace(Arena& arena, int threads) {
  constexpr int64_t bytes_per_thread = 2 << 20;
  return take(arena, 1, bytes_per_thread * threads, DType::u8, "matmul workspace");
}

LoraLinearForwardScratch LoraLinearForwardScratch::take(Arena& arena, int threads, int64_t tokens,
                                                        DType compute, bool has_y,
                                                        const FrozenLinear& w,
                                                        const LoraAdapter& lora) {
  LoraLinearForwardScratch s;
  if (has_y && w.quantized)
    s.weight = cpu::take(arena, w.out_features, w.in_features, compute, "dequantized weight");
  if (lora) {
    if (lora.dropout > 0)
      s.x = cpu::take(arena, tokens, w.in_features, compute, "input after dropout");
    if (compute != DType::f32)
      s.a = cpu::take(arena, lora.rank(), w.in_features, compute, "adapter A");
    if (has_y) s.b = cpu::take(arena, w.out_features, lora.rank(), compute, "adapter B");
  }
  s.workspace = matmul_workspace(arena, threads);
  return s;
}

LoraLinearBackwardScratch LoraLinearBackwardScratch::take(Arena& arena, int threads, int64_t tokens,
                                                          DType compute, bool has_dx,
                                                          const FrozenLinear& w,
                                                          const LoraAdapter& lora) {
  LoraLinearBackwardScratch s;
  if (has_dx && w.quantized)
    s.weight = cpu::take(arena, w.out_features, w.in_features, compute, "dequantized weight");
  if (lora) {
    if (lora.dropout > 0)
      s.x = cpu::take(arena, tokens, w.in_features, compute, "input after dropout");
    if (has_dx && compute != DType::f32)
      s.a = cpu::take(arena, lora.rank(), w.in_features, compute, "adapter A");
    s.b = cpu::take(arena, w.out_features, lora.rank(), compute, "adapter B");
    s.u = cpu::take(arena, tokens, lora.rank(), compute, "gradient of t");
    s.gradient_b = cpu::take(arena, lora.rank(), w.out_features, DType::f32, "gradient of B");
  }
  s.workspace = matmul_workspace(arena, threads);
  return s;
}

AttentionScratch AttentionScratch::take_forward(Arena& arena, int threads,
                                                const AttentionShape& shape) {
  AttentionScratch s;
  s.tiles = cpu::take(arena, threads, attention_scratch_floats(shape.head_dim), DType::f32,
                      "attention tiles");
  return s;
}

AttentionScratch AttentionScratch::take_backward(Arena& arena, int threads, int64_t queries,
                                                 const AttentionShape& shape) {
  AttentionScratch s = take_forward(arena, threads, shape);
  s.delta = cpu::take(arena, queries, shape.heads, DType::f32, "attention delta");
  return s;
}

CrossEntropyScratch CrossEntropyScratch::take(Arena& arena, int threads, int64_t trained,
                                              int64_t features, int64_t vocabulary, DType compute) {
  constexpr int64_t most_rows = 256;
  constexpr int64_t most_bytes = int64_t{256} << 20;
  const int64_t rows = std::clamp<int64_t>(most_bytes / (4 * vocabulary), 1,
                                           std::min(most_rows, std::max<int64_t>(trained, 1)));
  CrossEntropyScratch s;
  s.x = cpu::take(arena, rows, features, compute, "trained rows");
  s.logits = cpu::take(arena, rows, vocabulary, DType::f32, "logits");
  s.losses = cpu::take(arena, 1, rows, DType::f32, "losses");
  s.targets = cpu::take(arena, 1, rows, DType::i32, "targets");
  s.workspace = matmul_workspace(arena, threads);
  return s;
}

Tensor partial_sums(Arena& arena, int64_t n) {
  return take(arena, 1, 2 * std::max<int64_t>(1, (n + sum_piece - 1) / sum_piece), DType::f32,
              "partial sums");
}

}  // namespace nibble::cpu
