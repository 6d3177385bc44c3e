// Quantization in a backend: bit for bit the definition in src/quant.
#include <gtest/gtest.h>

#include "ops/op_test.h"
#include "ops/quantized_operand.h"

namespace nibble::test {
namespace {

class Quantize : public testing::TestWithParam<std::string> {
 protected:
  Ops& ops = shared_backend(GetParam()).ops();
};

struct Case {
  int64_t rows, cols;
  int block_size;
};

const Case cases[] = {{1, 1, 64},   {1, 3, 64},    {2, 64, 64},     {3, 47, 64},
                      {5, 100, 32}, {40, 257, 64}, {130, 512, 128}, {9, 1000, 4096},
                      {64, 64, 32}, {300, 130, 64}};

// Weights of all magnitudes, with blocks of zeros, and numbers at and beside the thresholds.
Values weights_of(const Case& p, DType dtype, Random& random) {
  Values w = random_values(random, p.rows, p.cols, dtype);
  const auto block_size = static_cast<size_t>(p.block_size);
  for (size_t i = 0; i < w.values().size(); ++i) {
    const size_t block = i / block_size;
    double& value = w.values()[i];
    if (block % 7 == 3) value = 0;
    if (block % 7 == 4) value = std::ldexp(value, -13);
    if (block % 7 == 5 && dtype != DType::f16) value = std::ldexp(value, 40);
    if (block % 7 == 6) {  // absmax 1
      const size_t k = i % block_size % 32;
      const float t = k < 15 ? nf4_thresholds[k] : k < 22 ? fp4_thresholds[k - 15] : 1.0f;
      value = static_cast<double>(i % 3 ? t : std::nextafter(t, 2.0f));
      if (std::fabs(value) > 1) value = 1;
      if (k == 31) value = -1;
    }
  }
  return rounded(std::move(w), dtype);
}

TEST_P(Quantize, BlocksHaveTheBitsOfTheDefinition) {
  uint64_t stream = 900;
  for (const Case& p : cases) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      for (const QuantType type : {QuantType::nf4, QuantType::fp4}) {
        SCOPED_TRACE(fmt::format("seed {} {} x {} block {} {} {}", test_seed(), p.rows, p.cols,
                                 p.block_size, name_of(dtype), static_cast<int>(type)));
        Random random(++stream);
        const QuantSpec spec{type, false, p.block_size};
        const Values w = weights_of(p, dtype, random);
        const HostQuantized expected(to_floats(w), p.rows, p.cols, spec, dtype);
        Values flat(1, w.rows() * w.cols());
        flat.values() = w.values();
        const auto results = run_twice(ops, [&]() -> std::vector<Values> {
          const Operand codes(ops, 1, static_cast<int64_t>(expected.codes.size()), DType::u8);
          const Operand absmax(ops, 1, static_cast<int64_t>(expected.absmax.size()), DType::f32);
          ops.quantize_blocks(codes, absmax, Operand(ops, flat, dtype), spec,
                              Operand(ops, row_values(expected.code_map), DType::f32));
          return {codes.read(), absmax.read()};
        });
        expect_equal(results[0], row_values(expected.codes), "codes");
        expect_equal(results[1], row_values(expected.absmax), "absmax");
      }
    }
  }
}

TEST_P(Quantize, DoubleQuantizationHasTheBitsOfTheDefinition) {
  for (const int64_t blocks : {1, 2, 255, 256, 257, 1000, 5000}) {
    SCOPED_TRACE(fmt::format("seed {} blocks {}", test_seed(), blocks));
    Random random(static_cast<uint64_t>(950 + blocks));
    Values scales(1, blocks);
    for (int64_t i = 0; i < blocks; ++i)
      scales(0, i) = i / 256 % 3 == 1 ? 0.5 : 0.02 * (2 + random.normal() * 0.3);
    scales = rounded(scales, DType::f32);
    std::vector<float> absmax = to_floats(scales);
    std::vector<uint8_t> codes(absmax.size());
    std::vector<float> nested((absmax.size() + 255) / 256), offset(1);
    double_quantize(codes, nested, offset[0], absmax);
    const auto results = run_twice(ops, [&]() -> std::vector<Values> {
      const Operand scale_codes(ops, 1, blocks, DType::u8);
      const Operand nested_absmax(ops, 1, static_cast<int64_t>(nested.size()), DType::f32);
      const Operand mean(ops, 1, 1, DType::f32);
      const Operand map(ops, row_values(dynamic_map_signed()), DType::f32);
      QuantizedMatrix q;
      q.rows = blocks;
      q.cols = 64;
      q.scale_codes = scale_codes;
      q.nested_absmax = nested_absmax;
      q.nested_map = map;
      q.offset = mean;
      ops.double_quantize(q, Operand(ops, scales, DType::f32));
      return {scale_codes.read(), nested_absmax.read(), mean.read()};
    });
    expect_equal(results[0], row_values(codes), "scale_codes");
    expect_equal(results[1], row_values(nested), "nested_absmax");
    expect_equal(results[2], row_values(offset), "offset");
  }
}

TEST_P(Quantize, DequantizedValuesHaveTheBitsOfTheDefinition) {
  uint64_t stream = 980;
  for (const Case& p : cases) {
    for (const bool double_quant : {false, true}) {
      for (const QuantType type : {QuantType::nf4, QuantType::fp4}) {
        for (const DType source : {DType::bf16, DType::f32, DType::f16}) {
          Random random(++stream);
          const HostQuantized q(to_floats(weights_of(p, source, random)), p.rows, p.cols,
                                {type, double_quant, p.block_size}, source);
          const Values decoded = row_values(q.decoded());
          for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
            SCOPED_TRACE(fmt::format("seed {} {} x {} block {} double {} type {} {} to {}",
                                     test_seed(), p.rows, p.cols, p.block_size, double_quant,
                                     static_cast<int>(type), name_of(source), name_of(dtype)));
            const auto results = run_twice(ops, [&]() -> std::vector<Values> {
              const Operand w(ops, p.rows, p.cols, dtype);
              const QuantizedOperand operand(ops, q);
              ops.dequantize(w, operand.view());
              return {w.read()};
            });
            expect_equal(results[0], rounded(decoded, dtype), "w");
          }
        }
      }
    }
  }
}

TEST_P(Quantize, StoredMapsAreUsed) {
  // A file may bring maps of its own: decoding takes those, not the program's.
  Random random(999);
  HostQuantized q(random.normals(640), 10, 64, {}, DType::f32);
  for (float& value : q.code_map) value = value * 0.5f + 0.125f;
  for (float& value : q.nested_map) value = value * 0.75f - 0.01f;
  const auto results = run_twice(ops, [&]() -> std::vector<Values> {
    const Operand w(ops, 10, 64, DType::f32);
    ops.dequantize(w, QuantizedOperand(ops, q).view());
    return {w.read()};
  });
  expect_equal(results[0], row_values(q.decoded()), "w");
}

INSTANTIATE_TEST_SUITE_P(Backends, Quantize, testing::ValuesIn(backend_names()),
                         [](const auto& p) { return p.param; });

}  // namespace
}  // namespace nibble::test
