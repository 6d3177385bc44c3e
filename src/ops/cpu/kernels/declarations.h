// What kernels/table.cpp collects: the declarations of every kernel of this instruction set.
#pragma once

#include "ops/cpu/kernels/kernels.h"

namespace nibble::cpu::NIBBLE_ISA {

template <typename T>
struct Rows {  // rms_norm.cpp, pointwise.cpp, cross_entropy.cpp
  static void rms_norm_forward(void* y, float* rstd, const void* x, const float* weight, int64_t n,
                               float epsilon);
  static void rms_norm_backward(void* dx, bool accumulate, const void* dy, const void* x,
                                const float* weight, float rstd, int64_t n);
  static void rope(void* x, const float* cos, const float* sin, int64_t heads, int64_t head_dim,
                   int64_t half, float sign);
  static void gated_silu_forward(void* y, const void* gate, const void* up, int64_t n);
  static void gated_silu_backward(void* dgate, void* dup, const void* dy, const void* gate,
                                  const void* up, int64_t n);
  static void dropout(void* y, bool accumulate, const void* x, int64_t first, int64_t n,
                      const DropoutStream& stream);
  static void scale_from_f32(void* y, const float* x, int64_t n, float scale);
  static void softmax_gradient(float* logits, int64_t n, const Softmax& softmax, int64_t target,
                               float gradient);
  static float dot(const void* x, const void* y, int64_t n);
};

template <typename T>
void dequantize(void* w, const uint8_t* codes, const float* code_map, const FourBitScales& scales,
                int64_t begin, int64_t end, int64_t block_size, Element source);

template <typename T>
struct Attention {
  static void forward(const AttentionTile& tile);
  static void backward_queries(const AttentionTile& tile);
  static void backward_keys(const AttentionTile& tile);
};

void convert(void* y, Element y_type, const void* x, Element x_type, int64_t n);
void quantize_block(uint8_t* codes, float* absmax, const void* x, Element x_type, int64_t n,
                    const FourBitLevels& levels);
void quantize_scales(uint8_t* codes, float* absmax, const float* x, int64_t n, float offset,
                     const float* map);
void softmax_tile(Softmax* softmax, bool first, const float* logits, int64_t n, int64_t target);
void add_scaled(float* y, const float* x, int64_t n, float scale);
double sum_of_squares(const float* x, int64_t n);
void adamw(float* p, const float* g, float* m, float* v, int64_t n, const AdamWStep& step);
void adamw_8bit(float* p, const float* g, uint8_t* m_codes, uint8_t* v_codes, float* m_absmax,
                float* v_absmax, int64_t n, const Adam8bitStep& step);

}  // namespace nibble::cpu::NIBBLE_ISA
