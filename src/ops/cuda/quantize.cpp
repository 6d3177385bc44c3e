// Quantization and its inverse; quant/ holds the definition, element by element.
#include <algorithm>

#include "ops/cuda/check.h"
#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/four_bit.h"
#include "ops/cuda/matrix.h"
#include "ops/cuda/scratch.h"
#include "quant/fp4.h"
#include "quant/nf4.h"

namespace nibble {
namespace {

cuda::FourBitLevels levels_of(QuantType type) {
  cuda::FourBitLevels levels{};
  if (type == QuantType::nf4) {
    std::ranges::copy(nf4_thresholds, levels.thresholds);
    for (uint8_t i = 0; i < 16; ++i) levels.codes[i] = i;
    levels.count = static_cast<int>(nf4_thresholds.size());
  } else {
    std::ranges::copy(fp4_thresholds, levels.thresholds);
    std::ranges::copy(fp4_ascending, levels.codes);
    levels.count = static_cast<int>(fp4_thresholds.size());
    levels.sign_bit = true;
  }
  return levels;
}

}  // namespace

void CudaOps::do_quantize_blocks(Tensor codes, Tensor absmax, Tensor x, const QuantSpec& spec,
                                 Tensor) {
  cuda::quantize_blocks(codes.as<uint8_t>(), absmax.as<float>(), x.data, x.dtype, x.size(),
                        spec.block_size, levels_of(spec.type), stream_);
  cuda::check_launch("quantize_blocks");
}

void CudaOps::do_double_quantize(const QuantizedMatrix& q, Tensor absmax) {
  const Arena::Scope scope(arena());
  const int64_t n = absmax.size();
  constexpr int64_t block = QuantSpec::nested_block_size;
  const Tensor partial = cuda::double_partials(arena(), (n + block - 1) / block);
  float* scales = absmax.as<float>();
  cuda::scale_offset(q.offset.as<float>(), static_cast<double*>(partial.data), scales, n, stream_);
  cuda::check_launch("scale_offset");
  cuda::quantize_scales(q.scale_codes.as<uint8_t>(), q.nested_absmax.as<float>(), scales, n,
                        q.offset.as<float>(), q.nested_map.as<float>(), stream_);
  cuda::check_launch("quantize_scales");
}

void CudaOps::do_dequantize(Tensor w, const QuantizedMatrix& q) {
  cuda::dequantize(cuda::matrix(w), cuda::four_bit(q), stream_);
  cuda::check_launch("dequantize");
}

}  // namespace nibble
