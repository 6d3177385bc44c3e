// All the memory that operations of the CUDA backend take from the arena, as functions of shapes
// and dtypes. The plan backend calls these same functions, also on machines without CUDA: nothing
// here includes it.
//
// Every function takes its pieces in the caller's Arena::Scope.
#pragma once

#include <cstdint>

#include "core/arena.h"
#include "ops/ops.h"

namespace nibble::cuda {

// u8, what one matrix product may use beyond its operands. cuBLAS recommends 32 MiB on Hopper.
Tensor matmul_workspace(Arena& arena);

// True where a call of lora_linear_forward reads the codes without taking any scratch: few tokens,
// few layers, all of them quantized and without dropout. The limits are SmallLinearGroup's.
inline constexpr int64_t most_few_tokens = 8;
inline constexpr size_t most_few_layers = 4;
bool few_tokens(int64_t tokens, const LinearGroup& group);

// Where [W | B] and [W; A] are put together, the adapters' parts in the compute dtype.
struct LoraLinearForwardScratch {
  Tensor weight;  // C [all out, in + tail]; empty where a dense weight serves itself
  Tensor bias;    // C [1, all out], or empty
  Tensor a;       // C [tail, in], all A stacked; rows beyond the ranks are zero
  Tensor x;       // C [T, in], after dropout; empty without
  Tensor workspace;
  // has_y false: only t is computed. Nothing is taken for few_tokens().
  static LoraLinearForwardScratch take(Arena& arena, int64_t tokens, DType compute, bool has_y,
                                       const LinearGroup& group);
};

struct LoraLinearBackwardScratch {
  Tensor weight;      // C [all out + tail, in]: W, and A below it; empty as above
  Tensor b;           // C [all out, tail]: scaling * B of each layer in its rows and columns
  Tensor x;           // C [T, in], dropout(x), then u A; empty without dropout
  Tensor gradient_a;  // f32 [tail, in]
  Tensor gradient_b;  // f32 [all out, tail]
  Tensor workspace;
  static LoraLinearBackwardScratch take(Arena& arena, int64_t tokens, DType compute, bool has_dx,
                                        const LinearGroup& group);
};

// Of documents with these offsets.
int64_t longest_of(std::span<const int32_t> offsets);

struct AttentionScratch {
  Tensor offsets;          // i32 [2, documents + 1], of queries and of keys
  Tensor cudnn;            // u8, where cuDNN computes; else empty
  Tensor delta;            // f32 [T, heads], where the kernels compute backward
  bool in_blocks = false;  // cuDNN computes backward, in blocks of documents
  static AttentionScratch take_forward(Arena& arena, Tensor out, Tensor q, Tensor k, Tensor v,
                                       const Documents& documents, const AttentionShape& shape);
  // All of backward's matrices, q first and k second.
  static AttentionScratch take_backward(Arena& arena, std::span<const Tensor> matrices,
                                        const Documents& documents, const AttentionShape& shape);
};

struct CrossEntropyScratch {
  Tensor rows;     // i32 [1, trained], which rows are trained
  Tensor targets;  // i32 [1, trained]
  Tensor x;        // C [chunk, D], the trained rows; then the gradient of them
  Tensor logits;   // f32 [chunk, V], then their gradient in C, rows still V floats apart
  Tensor losses;   // f32 [1, chunk]
  Tensor workspace;
  static CrossEntropyScratch take(Arena& arena, int64_t trained, int64_t features,
                                  int64_t vocabulary, DType compute);
};

// f64 as u8 [1, 8 n]: partial sums.
Tensor double_partials(Arena& arena, int64_t n);
// Of sum_of_squares, one for each piece of fixed length.
inline constexpr int64_t sum_piece = 1 << 14;
constexpr int64_t sum_of_squares_partials(int64_t n) { return (n + sum_piece - 1) / sum_piece; }
// f32 [2, 256]: the maps of 8-bit moments, signed and unsigned.
Tensor moment_maps(Arena& arena);

// True where a layer's dropout is active.
bool has_dropout(const LinearGroup& group);

}  // namespace nibble::cuda
