// A quantized matrix with its memory, made by the definition in src/quant.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "quant/block_quant.h"
#include "quant/double_quant.h"

namespace nibble::test {

class HostQuantized {
 public:
  // weights: rows * cols values of type source_dtype, widened to float.
  HostQuantized(std::span<const float> weights, int64_t rows, int64_t cols, const QuantSpec& spec,
                DType source_dtype) {
    view_.rows = rows;
    view_.cols = cols;
    view_.spec = spec;
    view_.source_dtype = source_dtype;
    allocate();
    const auto block_size = static_cast<size_t>(spec.block_size);
    for (size_t block = 0; block < absmax.size(); ++block) {
      const size_t begin = block * block_size;
      const size_t count = std::min(block_size, weights.size() - begin);
      absmax[block] = encode_block(std::span(codes).subspan(begin / 2, (count + 1) / 2),
                                   weights.subspan(begin, count), spec.type);
    }
    if (spec.double_quant) {
      std::vector<float> scales = absmax;
      double_quantize(scale_codes, nested_absmax, offset, scales);
    }
  }
  HostQuantized(const HostQuantized&) = delete;
  HostQuantized& operator=(const HostQuantized&) = delete;

  const QuantizedMatrix& view() const { return view_; }
  std::vector<float> decoded() const {
    std::vector<float> values(static_cast<size_t>(view_.size()));
    for (int64_t i = 0; i < view_.size(); ++i) values[static_cast<size_t>(i)] = decode(view_, i);
    return values;
  }

  std::vector<uint8_t> codes;
  std::vector<float> code_map;
  std::vector<float> absmax;  // before double quantization
  std::vector<uint8_t> scale_codes;
  std::vector<float> nested_absmax;
  std::vector<float> nested_map;
  float offset = 0;

 private:
  void allocate() {
    const auto blocks = static_cast<size_t>(view_.blocks());
    const auto& map = code_map_of(view_.spec.type);
    codes.resize((static_cast<size_t>(view_.size()) + 1) / 2);
    code_map.assign(map.begin(), map.end());
    absmax.resize(blocks);
    view_.codes = row(codes, DType::u8);
    view_.code_map = row(code_map, DType::f32);
    if (!view_.spec.double_quant) {
      view_.absmax = row(absmax, DType::f32);
      return;
    }
    scale_codes.resize(blocks);
    nested_absmax.resize((blocks + 255) / 256);
    nested_map.assign(dynamic_map_signed().begin(), dynamic_map_signed().end());
    view_.scale_codes = row(scale_codes, DType::u8);
    view_.nested_absmax = row(nested_absmax, DType::f32);
    view_.nested_map = row(nested_map, DType::f32);
    view_.offset = dense_tensor(&offset, 1, 1, DType::f32);
  }
  template <typename T>
  static Tensor row(std::vector<T>& values, DType dtype) {
    return dense_tensor(values.data(), 1, static_cast<int64_t>(values.size()), dtype);
  }

  QuantizedMatrix view_;
};

}  // namespace nibble::test
