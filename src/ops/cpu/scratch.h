// All the memory that operations of the CPU backend take from the arena, as functions of shapes,
// dtypes and the number of threads. The plan backend calls these same functions, so what is planned
// is what is used. Nothing here depends on oneDNN or on the instruction set.
//
// Every function takes its pieces in the caller's Arena::Scope.
#pragma once

#include <cstdint>

#include "core/arena.h"
#include "ops/ops.h"

namespace nibble::cpu {

// u8, what one matrix product may use beyond its operands.
Tensor matmul_workspace(Arena& arena, int threads);

struct LoraLinearForwardScratch {
  Tensor weight;  // C [out, in], dequantized; empty for a dense weight
  Tensor x;       // C [T, in], after dropout; empty without
  Tensor a;       // C [r, in]; empty for C = f32, as the parameter serves itself
  Tensor b;       // C [out, r], times scaling
  Tensor workspace;
  // has_y false: only t is computed.
  static LoraLinearForwardScratch take(Arena& arena, int threads, int64_t tokens, DType compute,
                                       bool has_y, const FrozenLinear& w, const LoraAdapter& lora);
};

struct LoraLinearBackwardScratch {
  Tensor weight;      // C [out, in], dequantized; empty for a dense weight or without dx
  Tensor x;           // C [T, in], dropout(x), then u A; empty without dropout
  Tensor a;           // C [r, in]; empty for C = f32 or without dx
  Tensor b;           // C [out, r], times scaling
  Tensor u;           // C [T, r]
  Tensor gradient_b;  // f32 [r, out], the transposed gradient before scaling
  Tensor workspace;
  static LoraLinearBackwardScratch take(Arena& arena, int threads, int64_t tokens, DType compute,
                                        bool has_dx, const FrozenLinear& w,
                                        const LoraAdapter& lora);
};

struct AttentionScratch {
  Tensor tiles;  // f32 [threads, floats]
  Tensor delta;  // f32 [T, heads]; backward only
  static AttentionScratch take_forward(Arena& arena, int threads, const AttentionShape& shape);
  static AttentionScratch take_backward(Arena& arena, int threads, int64_t queries,
                                        const AttentionShape& shape);
};

struct CrossEntropyScratch {
  Tensor x;        // C [chunk, D], the trained rows; then the gradient of them
  Tensor logits;   // f32 [chunk, V], then their gradient in C, rows still V floats apart
  Tensor losses;   // f32 [1, chunk]
  Tensor targets;  // i32 [1, chunk]
  Tensor workspace;
  static CrossEntropyScratch take(Arena& arena, int threads, int64_t trained, int64_t features,
                                  int64_t vocabulary, DType compute);
};

// f32 [1, pieces]: partial sums of sum_of_squares, one for each piece of fixed length.
inline constexpr int64_t sum_piece = 65536;
Tensor partial_sums(Arena& arena, int64_t n);

}  // namespace nibble::cpu
