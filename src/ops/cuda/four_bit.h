// Quantized matrices as the kernels take them.
#pragma once

#include "ops/cuda/kernels/kernels.h"
#include "quant/quantized_matrix.h"

namespace nibble::cuda {

inline FourBitMatrix four_bit(const QuantizedMatrix& q) {
  FourBitMatrix view{};
  view.codes = q.codes.as<uint8_t>();
  view.code_map = q.code_map.as<float>();
  view.block_size = q.spec.block_size;
  view.source = q.source_dtype;
  if (q.spec.double_quant) {
    view.scale_codes = q.scale_codes.as<uint8_t>();
    view.nested_absmax = q.nested_absmax.as<float>();
    view.nested_map = q.nested_map.as<float>();
    view.offset = q.offset.as<float>();
  } else {
    view.absmax = q.absmax.as<float>();
  }
  return view;
}

}  // namespace nibble::cuda
