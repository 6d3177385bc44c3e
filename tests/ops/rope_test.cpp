#include "reference/rope.h"

#include <gtest/gtest.h>

#include "ops/op_test.h"

namespace nibble::test {
namespace {

struct Case {
  int64_t tokens, heads, head_dim, rotary_dim;
};

const Case cases[] = {{1, 1, 2, 2},    {1, 3, 6, 6},     {5, 2, 6, 2},    {17, 4, 64, 64},
                      {33, 3, 80, 40}, {64, 2, 128, 96}, {130, 1, 10, 10}};

class Rope : public OpTest {};

TEST_P(Rope, Tables) {
  uint64_t stream = 300;
  for (const Case& p : cases) {
    SCOPED_TRACE(fmt::format("seed {} tokens {}", test_seed(), p.tokens));
    Random random(++stream);
    const int64_t half = p.rotary_dim / 2;
    const float factor = 1.1902381f;
    Values frequencies(2, half);
    for (int64_t i = 0; i < half; ++i) {
      const double exponent = static_cast<double>(i) / static_cast<double>(half);
      frequencies(0, i) = std::pow(10000.0, -exponent);
      frequencies(1, i) = std::pow(500000.0, -exponent) / 3;
    }
    frequencies = rounded(frequencies, DType::f32);
    Values positions(1, p.tokens), variants(1, p.tokens);
    std::vector<int32_t> position(static_cast<size_t>(p.tokens)), variant(position.size());
    for (int64_t t = 0; t < p.tokens; ++t) {
      const auto i = static_cast<size_t>(t);
      position[i] = static_cast<int32_t>(t == 0 ? 131071 : random.integer(0, 4096));
      variant[i] = static_cast<int32_t>(random.integer(0, 1));
      positions(0, t) = position[i];
      variants(0, t) = variant[i];
    }
    const auto results = run_twice(ops, [&]() -> std::vector<Values> {
      Operand cos(ops, p.tokens, half, DType::f32);
      Operand sin(ops, p.tokens, half, DType::f32);
      ops.rope_tables(cos, sin, Operand(ops, positions, DType::i32),
                      Operand(ops, variants, DType::i32), Operand(ops, frequencies, DType::f32),
                      factor);
      return {cos.read(), sin.read()};
    });
    // The angle is a float32 product, as in transformers: at position 131071 that is off by up to
    // 2^-24 * 131071, which the bound knows.
    const auto precision = float_precision();
    const auto expected =
        reference::rope_tables(position, variant, exact(frequencies), static_cast<double>(factor));
    expect_within(results[0], expected.cos, DType::f32, "cos");
    expect_within(results[1], expected.sin, DType::f32, "sin");
  }
}

TEST_P(Rope, ForwardAndBackward) {
  uint64_t stream = 320;
  for (const Case& p : cases) {
    for (const Layout layout : {Layout::dense, Layout::strided}) {
      SCOPED_TRACE(fmt::format("seed {} tokens {} heads {} head_dim {} rotary_dim {}", test_seed(),
                               p.tokens, p.heads, p.head_dim, p.rotary_dim));
      Random random(++stream);
      const Values x = random_values(random, p.tokens, p.heads * p.head_dim, c);
      Values cos(p.tokens, p.rotary_dim / 2), sin(p.tokens, p.rotary_dim / 2);
      for (size_t i = 0; i < cos.values().size(); ++i) {
        const double angle = 100 * random.uniform();
        cos.values()[i] = std::cos(angle);
        sin.values()[i] = std::sin(angle);
      }
      cos = rounded(cos, DType::f32);
      sin = rounded(sin, DType::f32);
      const auto results = run_twice(ops, [&]() -> std::vector<Values> {
        const Operand cosines(ops, cos, DType::f32), sines(ops, sin, DType::f32);
        Operand forward(ops, x, c, layout), backward(ops, x, c, layout);
        ops.rope_forward(forward, cosines, sines, p.head_dim);
        ops.rope_backward(backward, cosines, sines, p.head_dim);
        return {forward.read(), backward.read()};
      });
      const auto precision = float_precision();
      expect_within(results[0],
                    reference::rope_forward(exact(x), exact(cos), exact(sin), p.head_dim), c, "x");
      expect_within(results[1],
                    reference::rope_backward(exact(x), exact(cos), exact(sin), p.head_dim), c,
                    "dx");
    }
  }
}

NIBBLE_OP_TESTS(Rope);

}  // namespace
}  // namespace nibble::test
