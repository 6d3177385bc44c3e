// The table of this instruction set's kernels.
#include "ops/cpu/kernels/declarations.h"

#define NIBBLE_STRING_OF(x) #x
#define NIBBLE_NAME_OF(x) NIBBLE_STRING_OF(x)

namespace nibble::cpu::NIBBLE_ISA {
namespace {

template <typename T>
constexpr ElementKernels elements_of() {
  return {Rows<T>::rms_norm_forward,
          Rows<T>::rms_norm_backward,
          Rows<T>::rope,
          Rows<T>::gated_silu_forward,
          Rows<T>::gated_silu_backward,
          Rows<T>::dropout,
          Rows<T>::scale_from_f32,
          Rows<T>::softmax_gradient,
          Rows<T>::dot,
          dequantize<T>,
          Attention<T>::forward,
          Attention<T>::backward_queries,
          Attention<T>::backward_keys};
}
constexpr ElementKernels f32_kernels = elements_of<float>();
constexpr ElementKernels bf16_kernels = elements_of<Bf16>();

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {NIBBLE_NAME_OF(NIBBLE_ISA),
                         {&f32_kernels, nullptr, &bf16_kernels},
                         convert,
                         dequantize<F16>,
                         quantize_block,
                         quantize_scales,
                         softmax_tile,
                         add_scaled,
                         sum_of_squares,
                         adamw,
                         adamw_8bit};

}  // namespace nibble::cpu::NIBBLE_ISA
