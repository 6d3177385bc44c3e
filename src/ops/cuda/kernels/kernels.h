// The CUDA kernels' launchers: plain pointers, sizes and a stream. The host files of ops/cuda call
// them; nothing here includes more than dtypes, so that nvcc compiles little.
//
// Every launcher queues work and returns; the caller asks check_launch() (cuda_check.h). `T` names
// the element type of void pointers. Strides are in elements. Nothing uses float atomics: sums have
// a fixed order, and two runs give the same bits.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "core/dtype.h"

namespace nibble::cuda {

// A matrix in device memory; what Tensor is elsewhere.
struct Matrix {
  void* data;
  int64_t rows, cols, stride;
  DType dtype;
};

// ---- data movement: data_movement.cu
// y = round(x), n elements of f32, bf16 or f16.
void convert(void* y, DType y_type, const void* x, DType x_type, int64_t n, cudaStream_t stream);
// y = round(scale * x); x: f32. Both may be strided.
void scale_from_f32(Matrix y, Matrix x, float scale, cudaStream_t stream);
// y += scale * x; y: f32, x: f32, bf16 or f16; both may be strided.
void add_scaled(Matrix y, Matrix x, float scale, cudaStream_t stream);
// y.row(i) = x.row(rows[i]) for i < count; and y.row(rows[i]) = x.row(i).
void gather_rows(Matrix y, Matrix x, const int32_t* rows, int64_t count, cudaStream_t stream);
void scatter_rows(Matrix y, Matrix x, const int32_t* rows, int64_t count, cudaStream_t stream);

// ---- quantization: quantize.cu (quant/block_quant.h and quant/double_quant.h are the definition)
// Element codes by comparison: `codes[k]` for a magnitude (sign_bit) or value above k thresholds.
struct FourBitLevels {
  float thresholds[15];
  uint8_t codes[16];
  int count;
  bool sign_bit;
};
struct FourBitMatrix {
  const uint8_t* codes;
  const float* code_map;  // [16]
  const float* absmax;    // without double quantization; else null and the following
  const uint8_t* scale_codes;
  const float* nested_absmax;
  const float* nested_map;  // [256]
  const float* offset;      // [1]
  int block_size;
  DType source;  // values are rounded to it first
};
void quantize_blocks(uint8_t* codes, float* absmax, const void* x, DType x_type, int64_t n,
                     int block_size, const FourBitLevels& levels, cudaStream_t stream);
// scale_offset's mean: offset[0]; partial: f64 [ceil(n/256)].
void scale_offset(float* offset, double* partial, const float* absmax, int64_t n,
                  cudaStream_t stream);
// Codes of absmax - offset in blocks of 256; absmax is overwritten by the differences.
void quantize_scales(uint8_t* scale_codes, float* nested_absmax, float* absmax, int64_t n,
                     const float* offset, const float* nested_map, cudaStream_t stream);
// y: f32, bf16 or f16 [rows, cols], may be strided; the matrix is flattened row-major.
void dequantize(Matrix y, const FourBitMatrix& q, cudaStream_t stream);

// ---- linear layers with few tokens: small_linear.cu
// One of the layers that read the same x; as LoraLinear in ops.h. C: the type of x and y.
struct SmallLinear {
  FourBitMatrix weight;  // [out, in]
  int64_t out;
  int64_t first_output;  // its column of y
  const void* bias;      // C [out], or null
  const float* a;        // [rank, in]
  const float* b;        // [out, rank]
  int64_t rank;          // 0: no adapter
  int64_t first_rank;    // its column of t
  float scaling;
};
struct SmallLinearGroup {
  static constexpr int most_tokens = 8, most_layers = 4;
  SmallLinear layers[most_layers];
  int count;
};
// t = round(x A^T), columns behind all ranks zero; x: C [tokens, in].
void small_linear_adapters(Matrix t, Matrix x, const SmallLinearGroup& group, cudaStream_t stream);
// y = round(residual + x W^T + bias + t (scaling B)^T); residual: y, apart from it or null; t lies
// in rows of x's stride.
void small_linear(Matrix y, Matrix residual, Matrix x, Matrix t, const SmallLinearGroup& group,
                  cudaStream_t stream);

// ---- the decoder: decoder.cu
void embedding(Matrix y, Matrix table, const int32_t* ids, cudaStream_t stream);
// cos, sin: f32 [tokens, half]; inverse_frequencies: f32 [variants, half].
void rope_tables(float* cos, float* sin, const int32_t* positions, const int32_t* variants,
                 const float* inverse_frequencies, int64_t tokens, int64_t half, float factor,
                 cudaStream_t stream);
// In place; cos, sin: f32 [x.rows, half]. backward rotates by the opposite angle.
void rope(Matrix x, const float* cos, const float* sin, int64_t head_dim, int64_t half,
          bool backward, cudaStream_t stream);
// Groups of n columns of x; weight: f32 [n]; rstd: f32 [rows, groups]. y may be x.
void rms_norm_forward(Matrix y, float* rstd, Matrix x, const float* weight, int64_t n,
                      float epsilon, cudaStream_t stream);
// dx may be dy when not accumulating.
void rms_norm_backward(Matrix dx, bool accumulate, Matrix dy, Matrix x, const float* weight,
                       const float* rstd, int64_t n, cudaStream_t stream);
void gated_silu_forward(Matrix y, Matrix gate, Matrix up, cudaStream_t stream);
// dgate may be gate, dup may be up.
void gated_silu_backward(Matrix dgate, Matrix dup, Matrix dy, Matrix gate, Matrix up,
                         cudaStream_t stream);

// y (+)= x masked by Philox (ops/cpu/lora_linear.cpp's definition), element i = first + row * cols
// + col.
struct DropoutStream {
  uint64_t key;
  const int32_t* step;  // low and high half, device memory
  float probability, scale;
  int64_t first;
};
void dropout(Matrix y, bool accumulate, Matrix x, const DropoutStream& stream_of_masks,
             cudaStream_t stream);

// ---- head and loss: cross_entropy.cu
// rows[k], targets[k] = index and label of the k-th label >= 0, in order, for k < trained.
void trained_rows(int32_t* rows, int32_t* targets, const int32_t* labels, int64_t tokens,
                  int64_t trained, cudaStream_t stream);
// What is known of the softmax of a row of logits that is seen in tiles: sum is that of
// exp(logit - max), target the label's logit.
struct Softmax {
  float max, sum, target;
};
// A tile of the rows' logits, f32 and dense, whose first column is `first` of the vocabulary.
struct LogitsTile {
  float* data;
  int64_t rows, cols, first;
};
// Adds a tile to each row's softmax; the first one begins.
void add_to_softmax(Softmax* softmax, const LogitsTile& tile, const int32_t* targets,
                    cudaStream_t stream);
// losses[i] = log(sum exp) - logit of the label.
void softmax_losses(float* losses, const Softmax* softmax, int64_t rows, cudaStream_t stream);
// Each row of the tile is overwritten by gradient * (softmax - one-hot) in f32, bf16 or f16,
// beginning where the row began (rows stay `cols` floats apart).
void softmax_gradient(const LogitsTile& tile, const Softmax* softmax, const int32_t* targets,
                      const float* gradient, DType gradient_type, cudaStream_t stream);
// Rows of y whose label is negative become zero.
void zero_masked_rows(Matrix y, const int32_t* labels, cudaStream_t stream);
// y[0] += sum of x, in index order of a fixed tree, accumulated in double.
void add_sum(float* y, const float* x, int64_t n, cudaStream_t stream);

// ---- the optimizer: optimizer.cu
// y[0] = sum x^2 accumulated in double; partial: f64, one for each `piece` elements.
void sum_of_squares(float* y, double* partial, const float* x, int64_t n, int64_t piece,
                    cudaStream_t stream);

// Constants as in ops/cpu/kernels/kernels.h.
struct AdamWStep {
  float decay, beta2, one_minus_beta1, one_minus_beta2, step_size, sqrt_correction2, epsilon,
      gradient_scale;
};
void adamw(float* p, const float* g, float* m, float* v, int64_t n, const AdamWStep& step,
           cudaStream_t stream);
struct Adam8bitStep {
  float decay, beta1, beta2, step_size, corrected_epsilon, gradient_scale;
  const float* signed_map;    // [256], device memory
  const float* unsigned_map;  // [256], device memory
};
void adamw_8bit(float* p, const float* g, uint8_t* m_codes, uint8_t* v_codes, float* m_absmax,
                float* v_absmax, int64_t n, const Adam8bitStep& step, cudaStream_t stream);

// ---- attention on any shape and dtype: attention.cu
struct AttentionProblem {
  Matrix q, k, v;                // [Tq, heads * head_dim], [Tk, kv_heads * head_dim] twice
  const int32_t* query_offsets;  // [documents + 1], device memory
  const int32_t* key_offsets;
  int64_t documents, longest_queries, longest_keys;
  int64_t heads, kv_heads, head_dim, window;
  float scale;
};
// lse: f32 [Tq, heads].
void attention_forward(Matrix out, float* lse, const AttentionProblem& problem,
                       cudaStream_t stream);
// delta: f32 [Tq, heads], scratch.
void attention_backward(Matrix dq, Matrix dk, Matrix dv, Matrix dout, Matrix out, const float* lse,
                        float* delta, const AttentionProblem& problem, cudaStream_t stream);

}  // namespace nibble::cuda
