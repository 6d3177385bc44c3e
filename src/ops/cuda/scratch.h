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

// Rows of a batch that linear layers compute at a time: enough to fill the device.
inline constexpr int64_t row_tile = 4096;

// The weights of a group, W, with the adapters beside and below them, B times its scaling, so that
// y = [x | t] [W | B]^T and dx = [dy | u] [W; A] are products of one matrix:
//   W B
//   A -
// A and B of all layers are stacked, in the rows and columns of their own layer.
struct StackedWeights {
  Tensor all;  // C [out + tail, in + tail]
  int64_t out = 0, in = 0, tail = 0;
  Tensor w() const { return all.row_range(0, out).columns(0, in); }
  Tensor a() const { return all.row_range(out, tail).columns(0, in); }
  Tensor b() const { return all.row_range(0, out).columns(in, tail); }
  Tensor w_and_b() const { return all.row_range(0, out); }
  Tensor w_and_a() const { return all.columns(0, in); }
};
// Memory for it; empty where a single dense weight serves itself, and for few_tokens().
Tensor stacked_weights(Arena& arena, int64_t rows, DType compute, const LinearGroup& group);

struct LoraLinearForwardScratch {
  Tensor weights;  // C [out + tail, in + tail]; without y [tail, in + tail]; empty where prepared
  Tensor bias;     // C [1, all out], or empty
  Tensor x;        // C [T, in], after dropout; empty without
  Tensor workspace;
  // has_y false: only t is computed. Nothing is taken for few_tokens().
  static LoraLinearForwardScratch take(Arena& arena, int64_t tokens, DType compute, bool has_y,
                                       const LinearGroup& group);
};

struct LoraLinearBackwardScratch {
  Tensor weights;     // C [out + tail, in + tail]; empty where prepared or served
  Tensor x;           // C [T, in], dropout(x), then u A; empty without dropout
  Tensor gradient_a;  // f32 [tail, in]
  Tensor gradient_b;  // f32 [all out, tail]
  Tensor workspace;
  static LoraLinearBackwardScratch take(Arena& arena, int64_t tokens, DType compute,
                                        const LinearGroup& group);
};

// Of documents with these offsets.
int64_t longest_of(std::span<const int32_t> offsets);

struct AttentionScratch {
  Tensor cudnn;            // u8, where cuDNN computes; else empty
  Tensor delta;            // f32 [T, heads], where the kernels compute backward
  bool in_blocks = false;  // cuDNN computes backward, in blocks of documents
  static AttentionScratch take_forward(Arena& arena, Tensor out, Tensor q, Tensor k, Tensor v,
                                       const Documents& documents, const AttentionShape& shape);
  // All of backward's matrices, q first and k second.
  static AttentionScratch take_backward(Arena& arena, std::span<const Tensor> matrices,
                                        const Documents& documents, const AttentionShape& shape);
};

// Entries of the vocabulary that the head's products take at a time.
inline constexpr int64_t vocabulary_tile = 16384;

struct CrossEntropyScratch {
  int64_t chunk;   // rows of a product
  Tensor rows;     // i32 [1, trained], which rows are trained
  Tensor targets;  // i32 [1, trained]
  Tensor x;        // C [n, D], n trained rows at a time; then the gradient of them
  Tensor dx;       // f32 [n, D], their gradient; empty without
  Tensor softmax;  // f32 [n, 3]: what kernels know of each row's softmax
  Tensor losses;   // f32 [1, n]
  Tensor logits;   // f32 [tiles held, chunk * tile], a product's result dense in each row
  Tensor head;     // C [2 * tile, D], two tiles of a far head
  Tensor workspace;
  static CrossEntropyScratch take(Arena& arena, int64_t trained, int64_t features,
                                  int64_t vocabulary, DType compute, LogitsIn held, bool has_dx,
                                  bool far);
};
// C [2 * tile, D], two tiles of a far head.
Tensor head_tiles(Arena& arena, int64_t vocabulary, int64_t features, DType compute);

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
