// A quantized matrix in a backend's memory, made by the definition in src/quant.
#pragma once

#include <span>
#include <vector>

#include "ops/backend.h"
#include "support/quantized.h"

namespace nibble::test {

inline std::vector<float> to_floats(const Values& values) {
  return {values.values().begin(), values.values().end()};
}

template <typename Container>
Values row_values(const Container& values) {
  Values row(1, static_cast<int64_t>(values.size()));
  std::copy(values.begin(), values.end(), row.values().begin());
  return row;
}

class QuantizedOperand {
 public:
  QuantizedOperand(Ops& ops, const HostQuantized& host) : view_(host.view()) {
    place(ops, view_.codes, host.codes, DType::u8);
    place(ops, view_.code_map, host.code_map, DType::f32);
    if (!view_.spec.double_quant) {
      place(ops, view_.absmax, host.absmax, DType::f32);
      return;
    }
    place(ops, view_.scale_codes, host.scale_codes, DType::u8);
    place(ops, view_.nested_absmax, host.nested_absmax, DType::f32);
    place(ops, view_.nested_map, host.nested_map, DType::f32);
    place(ops, view_.offset, std::vector<float>{host.offset}, DType::f32);
  }
  const QuantizedMatrix& view() const { return view_; }

 private:
  template <typename T>
  static void place(Ops& ops, Tensor& tensor, const std::vector<T>& values, DType dtype) {
    tensor = Operand(ops, row_values(values), dtype).tensor();
  }
  QuantizedMatrix view_;
};

}  // namespace nibble::test
