#include "ops/cpu/scratch.h"

#include <algorithm>

#include "ops/cpu/kernels/kernels.h"
#include "ops/head_tiles.h"

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

Tensor prepared_weights(Arena& arena, DType compute, const LinearGroup& group) {
  const bool quantized = std::ranges::any_of(group.linears, [](const LoraLinear& linear) {
    return static_cast<bool>(linear.weight.quantized);
  });
  if (!quantized) return {};
  return take(arena, group.out_features(), group.in_features(), compute, "dequantized weights");
}

LoraLinearForwardScratch LoraLinearForwardScratch::take(Arena& arena, int threads, int64_t tokens,
                                                        DType compute, bool has_y, bool dequantizes,
                                                        const FrozenLinear& w,
                                                        const LoraAdapter& lora) {
  LoraLinearForwardScratch s;
  if (dequantizes && w.quantized)
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
                                                          bool dequantizes, const FrozenLinear& w,
                                                          const LoraAdapter& lora) {
  LoraLinearBackwardScratch s;
  if (dequantizes && w.quantized)
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

Tensor head_tile(Arena& arena, int64_t vocabulary, int64_t features, DType compute) {
  return take(arena, HeadTiles(vocabulary, vocabulary_tile).width(), features, compute,
              "tile of the head");
}

CrossEntropyScratch CrossEntropyScratch::take(Arena& arena, int threads, int64_t trained,
                                              int64_t features, int64_t vocabulary, DType compute,
                                              LogitsIn held, bool has_dx, bool far) {
  constexpr int64_t most_rows = 256, most_chunks = 8;
  constexpr int64_t most_bytes = int64_t{256} << 20;
  const HeadTiles tiles(vocabulary, vocabulary_tile);
  CrossEntropyScratch s;
  s.chunk = std::clamp<int64_t>(most_bytes / (4 * vocabulary), 1,
                                std::min(most_rows, std::max<int64_t>(trained, 1)));
  const int64_t rows = held == LogitsIn::rows
                           ? s.chunk
                           : std::min(most_chunks * s.chunk, std::max<int64_t>(trained, 1));
  s.rows = cpu::take(arena, 1, rows, DType::i32, "trained rows");
  s.targets = cpu::take(arena, 1, rows, DType::i32, "targets");
  s.x = cpu::take(arena, rows, features, compute, "head input");
  if (has_dx) s.dx = cpu::take(arena, rows, features, DType::f32, "gradient of the head's input");
  s.softmax = cpu::take(arena, rows, 3, DType::f32, "softmax");
  s.logits = cpu::take(arena, held == LogitsIn::rows ? tiles.size() : 1, s.chunk * tiles.width(),
                       DType::f32, "logits");
  if (far) s.head = head_tile(arena, vocabulary, features, compute);
  s.workspace = matmul_workspace(arena, threads);
  return s;
}

Tensor partial_sums(Arena& arena, int64_t n) {
  return take(arena, 1, 2 * std::max<int64_t>(1, (n + sum_piece - 1) / sum_piece), DType::f32,
              "partial sums");
}

}  // namespace nibble::cpu
