// Quantization and its inverse; quant/ holds the definition, element by element.
#include <algorithm>
#include <array>

#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/parallel.h"
#include "quant/double_quant.h"
#include "quant/fp4.h"
#include "quant/nf4.h"

namespace nibble {

using cpu::Element;
using cpu::FourBitLevels;
using cpu::FourBitScales;
using cpu::parallel_ranges;

namespace {

FourBitLevels levels_of(QuantType type) {
  FourBitLevels levels{};
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

void CpuOps::do_quantize_blocks(Tensor codes, Tensor absmax, Tensor x, const QuantSpec& spec,
                                Tensor) {
  const FourBitLevels levels = levels_of(spec.type);
  const int64_t n = x.size(), block_size = spec.block_size;
  const auto type = static_cast<Element>(x.dtype);
  auto* code = codes.as<uint8_t>();
  auto* scale = absmax.as<float>();
  parallel_ranges(threads_, absmax.size(), 256, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t first = b * block_size;
      kernels_.quantize_block(code + first / 2, scale + b,
                              x.raw() + first * static_cast<int64_t>(size_of(x.dtype)), type,
                              std::min(block_size, n - first), levels);
    }
  });
}

void CpuOps::do_double_quantize(const QuantizedMatrix& q, Tensor absmax) {
  auto* scales = absmax.as<float>();
  const int64_t n = absmax.size();
  const float offset = scale_offset({scales, static_cast<size_t>(n)});
  *q.offset.as<float>() = offset;
  auto* codes = q.scale_codes.as<uint8_t>();
  auto* nested = q.nested_absmax.as<float>();
  constexpr int64_t block = QuantSpec::nested_block_size;
  const float* map = q.nested_map.as<float>();
  parallel_ranges(threads_, q.nested_absmax.size(), 16, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b)
      kernels_.quantize_scales(codes + b * block, nested + b, scales + b * block,
                               std::min(block, n - b * block), offset, map);
  });
}

void CpuOps::do_dequantize(Tensor w, const QuantizedMatrix& q) {
  FourBitScales scales{};
  if (q.spec.double_quant) {
    scales.scale_codes = q.scale_codes.as<uint8_t>();
    scales.nested_absmax = q.nested_absmax.as<float>();
    scales.nested_map = q.nested_map.as<float>();
    scales.offset = *q.offset.as<float>();
  } else {
    scales.absmax = q.absmax.as<float>();
  }
  const auto kernel =
      w.dtype == DType::f16 ? kernels_.dequantize_f16 : elements(w.dtype).dequantize;
  const uint8_t* codes = q.codes.as<uint8_t>();
  const float* map = q.code_map.as<float>();
  const auto source = static_cast<Element>(q.source_dtype);
  parallel_ranges(threads_, q.size(), int64_t{64} * q.spec.block_size,
                  [&](int64_t begin, int64_t end) {
                    kernel(w.data, codes, map, scales, begin, end, q.spec.block_size, source);
                  });
}

}  // namespace nibble
