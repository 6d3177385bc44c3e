// The serial inner loops of the CPU backend, as one table of functions per instruction set.
//
// Files in this folder are compiled once per instruction set, in namespace nibble::cpu::NIBBLE_ISA.
// They include nothing whose inline functions the linker could merge with another set's copy: only
// <cstdint>, <cstddef> and headers of this folder.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nibble::cpu {

struct Bf16 {
  uint16_t bits;
};
struct F16 {
  uint16_t bits;
};

// Same values as nibble::DType.
enum class Element : uint8_t { f32 = 0, f16 = 1, bf16 = 2 };

// Where 4-bit quantization cuts: an element's level is the number of thresholds below it; codes
// maps levels to codes. With a sign bit the level is that of |x| and 8 is added to the code if x <
// 0.
struct FourBitLevels {
  float thresholds[15];
  uint8_t codes[16];
  int count;
  bool sign_bit;
};

// The scales of a quantized matrix; see QuantizedMatrix.
struct FourBitScales {
  const float* absmax;  // or null, and then:
  const uint8_t* scale_codes;
  const float* nested_absmax;
  const float* nested_map;
  float offset;
};

struct AdamWStep {
  float decay;  // 1 - lr * weight_decay
  float beta2;
  float one_minus_beta1, one_minus_beta2;
  float step_size;         // lr / (1 - beta1^t)
  float sqrt_correction2;  // sqrt(1 - beta2^t)
  float epsilon;
  float gradient_scale;
};

struct Adam8bitStep {
  float decay;  // 1 - lr * weight_decay
  float beta1, beta2;
  float step_size;          // -lr * sqrt(1 - beta2^t) / (1 - beta1^t)
  float corrected_epsilon;  // sqrt(1 - beta2^t) * epsilon
  float gradient_scale;
  const float* signed_map;    // [256]
  const float* unsigned_map;  // [256]
};

// Dropout of elements first, first + 1, ... of a matrix: element i takes word i % 4 of
// philox(key, i / 4, step), is kept if uniform_float(word) >= probability, and then scaled.
struct DropoutStream {
  uint64_t key, step;
  float probability, scale;
};

// Of a row of logits that is seen in tiles: sum is that of exp(logit - max).
struct Softmax {
  float max, sum, target;  // target: the logit of the label
};

// One query tile of one head of one document, against all keys that it sees.
// Pointers are at the tile's first query row, the document's first key row, and the head's first
// column. Query i stands at key `first_position + i` and sees keys up to itself.
struct AttentionTile {
  const void *q, *k, *v, *dout;
  void *out, *dq, *dk, *dv;
  float* lse;          // written by forward, read by backward
  const float* delta;  // sum over channels of dout * out
  int64_t q_stride, k_stride, v_stride, dout_stride;
  int64_t out_stride, dq_stride, dk_stride, dv_stride, stat_stride;  // stat: lse and delta
  int64_t queries, keys;
  int64_t first_position;
  int64_t head_dim;
  int64_t window;  // 0: none
  float scale;
  int64_t group;                 // backward over keys: query heads that share these keys
  int64_t key_begin, key_count;  // backward over keys: the tile
  float* scratch;
};

// Queries of one tile in the passes over queries, keys of one tile in the pass over keys.
inline constexpr int64_t attention_tile = 64;
// Floats of scratch that one thread needs for any of the three passes.
constexpr int64_t attention_scratch_floats(int64_t head_dim) {
  const int64_t padded = (head_dim + 15) / 16 * 16;
  return 8 * attention_tile * padded + 4 * attention_tile * attention_tile + 2 * attention_tile;
}

// Kernels over the compute dtype (float or bf16 behind the void pointers).
struct ElementKernels {
  // One group of n columns.
  void (*rms_norm_forward)(void* y, float* rstd, const void* x, const float* weight, int64_t n,
                           float epsilon);
  void (*rms_norm_backward)(void* dx, bool accumulate, const void* dy, const void* x,
                            const float* weight, float rstd, int64_t n);
  // One token: rotates pairs (i, i + half) of each head; sign -1 turns back.
  void (*rope)(void* x, const float* cos, const float* sin, int64_t heads, int64_t head_dim,
               int64_t half, float sign);
  void (*gated_silu_forward)(void* y, const void* gate, const void* up, int64_t n);
  void (*gated_silu_backward)(void* dgate, void* dup, const void* dy, const void* gate,
                              const void* up, int64_t n);
  // y (=|+=) dropout(x); first % 4 == 0.
  void (*dropout)(void* y, bool accumulate, const void* x, int64_t first, int64_t n,
                  const DropoutStream& stream);
  // y = scale * x.
  void (*scale_from_f32)(void* y, const float* x, int64_t n, float scale);
  // gradient * (softmax - one-hot) overwrites a tile of a row's logits from its beginning in the
  // compute dtype; target is relative to the tile and may lie outside of it.
  void (*softmax_gradient)(float* logits, int64_t n, const Softmax& softmax, int64_t target,
                           float gradient);
  float (*dot)(const void* x, const void* y, int64_t n);
  // w[begin, end) of the matrix, begin a multiple of block_size; values round to source first.
  void (*dequantize)(void* w, const uint8_t* codes, const float* code_map,
                     const FourBitScales& scales, int64_t begin, int64_t end, int64_t block_size,
                     Element source);

  void (*attention_forward)(const AttentionTile& tile);
  void (*attention_backward_queries)(const AttentionTile& tile);
  void (*attention_backward_keys)(const AttentionTile& tile);
};

struct Kernels {
  const char* name;
  const ElementKernels* elements[3];  // by Element; null for f16 except where noted

  void (*convert)(void* y, Element y_type, const void* x, Element x_type, int64_t n);
  void (*dequantize_f16)(void* w, const uint8_t* codes, const float* code_map,
                         const FourBitScales& scales, int64_t begin, int64_t end,
                         int64_t block_size, Element source);
  // One block: its absmax, and its codes packed two to a byte.
  void (*quantize_block)(uint8_t* codes, float* absmax, const void* x, Element x_type, int64_t n,
                         const FourBitLevels& levels);
  // One block of the scales: codes and absmax of x - offset.
  void (*quantize_scales)(uint8_t* codes, float* absmax, const float* x, int64_t n, float offset,
                          const float* map);
  // Adds a tile of a row's logits; the first one begins.
  void (*softmax_tile)(Softmax* softmax, bool first, const float* logits, int64_t n,
                       int64_t target);
  // y += scale * x
  void (*add_scaled)(float* y, const float* x, int64_t n, float scale);
  double (*sum_of_squares)(const float* x, int64_t n);
  void (*adamw)(float* p, const float* g, float* m, float* v, int64_t n, const AdamWStep& step);
  // One block of at most 256.
  void (*adamw_8bit)(float* p, const float* g, uint8_t* m_codes, uint8_t* v_codes, float* m_absmax,
                     float* v_absmax, int64_t n, const Adam8bitStep& step);
};

namespace generic {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}
namespace avx512bf16 {
extern const Kernels kernels;
}

}  // namespace nibble::cpu
