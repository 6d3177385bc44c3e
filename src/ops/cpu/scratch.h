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

// Rows of a batch that linear layers compute at a time.
inline constexpr int64_t row_tile = 1024;

// C [all out, in], the rows of quantized layers dequantized; empty where none is quantized.
Tensor prepared_weights(Arena& arena, DType compute, const LinearGroup& group);

struct LoraLinearForwardScratch {
  Tensor weight;  // C [out, in], dequantized; empty for a dense or prepared weight
  Tensor x;       // C [T, in], after dropout; empty without
  Tensor a;       // C [r, in]; empty for C = f32, as the parameter serves itself
  Tensor b;       // C [out, r], times scaling
  Tensor workspace;
  // has_y false: only t is computed. dequantizes: the weight is needed and not prepared.
  static LoraLinearForwardScratch take(Arena& arena, int threads, int64_t tokens, DType compute,
                                       bool has_y, bool dequantizes, const FrozenLinear& w,
                                       const LoraAdapter& lora);
};

struct LoraLinearBackwardScratch {
  Tensor weight;      // C [out, in], dequantized; empty for a dense or prepared weight
  Tensor x;           // C [T, in], dropout(x), then u A; empty without dropout
  Tensor a;           // C [r, in]; empty for C = f32 or without dx
  Tensor b;           // C [out, r], times scaling
  Tensor u;           // C [T, r]
  Tensor gradient_b;  // f32 [r, out], the transposed gradient before scaling
  Tensor workspace;
  static LoraLinearBackwardScratch take(Arena& arena, int threads, int64_t tokens, DType compute,
                                        bool has_dx, bool dequantizes, const FrozenLinear& w,
                                        const LoraAdapter& lora);
};

struct AttentionScratch {
  Tensor tiles;  // f32 [threads, floats]
  Tensor delta;  // f32 [T, heads]; backward only
  static AttentionScratch take_forward(Arena& arena, int threads, const AttentionShape& shape);
  static AttentionScratch take_backward(Arena& arena, int threads, int64_t queries,
                                        const AttentionShape& shape);
};

// Entries of the vocabulary that the head's products take at a time.
inline constexpr int64_t vocabulary_tile = 8192;
Tensor head_tile(Arena& arena, int64_t vocabulary, int64_t features, DType compute);

struct CrossEntropyScratch {
  int64_t chunk;   // rows of a product
  Tensor rows;     // i32 [1, n], n trained rows at a time: chunk or, in tiles, several chunks
  Tensor targets;  // i32 [1, n]
  Tensor x;        // C [n, D], the trained rows; at last the gradient of them
  Tensor dx;       // f32 [n, D], their gradient; empty without
  Tensor softmax;  // f32 [n, 3]: what kernels know of each row's softmax
  Tensor logits;   // f32 [tiles held, chunk * tile], a product's result dense in each row
  Tensor head;     // C [tile, D], of a far head
  Tensor workspace;
  static CrossEntropyScratch take(Arena& arena, int threads, int64_t trained, int64_t features,
                                  int64_t vocabulary, DType compute, LogitsIn held, bool has_dx,
                                  bool far);
};

// f32 [1, pieces]: partial sums of sum_of_squares, one for each piece of fixed length.
inline constexpr int64_t sum_piece = 65536;
Tensor partial_sums(Arena& arena, int64_t n);

}  // namespace nibble::cpu
