#include "reference/rms_norm.h"

#include <gtest/gtest.h>

#include "ops/op_test.h"

namespace nibble::test {
namespace {

struct Case {
  int64_t tokens, groups, columns;
  double scale;  // of x
  float epsilon;
};

const Case cases[] = {
    {1, 1, 1, 1, 1e-5f},    {1, 1, 6, 1, 1e-6f},     {3, 1, 64, 1, 1e-5f},  {5, 1, 100, 1, 1e-5f},
    {17, 1, 257, 1, 1e-6f}, {7, 4, 6, 1, 1e-6f},     {9, 3, 128, 1, 1e-6f}, {130, 1, 96, 1, 1e-5f},
    {4, 1, 3072, 1, 1e-5f}, {6, 2, 33, 1e-4, 1e-5f},  // epsilon decides
    {6, 1, 40, 300, 1e-5f},
};

class RmsNorm : public OpTest {};

TEST_P(RmsNorm, Forward) {
  uint64_t stream = 200;
  for (const Case& p : cases) {
    for (const Layout layout : {Layout::dense, Layout::strided}) {
      SCOPED_TRACE(fmt::format("seed {} tokens {} groups {} columns {}", test_seed(), p.tokens,
                               p.groups, p.columns));
      Random random(++stream);
      const Values x = random_values(random, p.tokens, p.groups * p.columns, c, p.scale);
      const Values weight = random_values(random, 1, p.columns, DType::f32);
      const auto results = run_twice(ops, [&]() -> std::vector<Values> {
        Operand y(ops, x.rows(), x.cols(), c, layout);
        Operand rstd(ops, p.tokens, p.groups, DType::f32);
        ops.rms_norm_forward(y, rstd, Operand(ops, x, c, layout), Operand(ops, weight, DType::f32),
                             p.epsilon);
        return {y.read(), rstd.read()};
      });
      const auto precision = float_precision();
      const auto expected =
          reference::rms_norm_forward(exact(x), exact(weight), static_cast<double>(p.epsilon));
      expect_within(results[0], expected.y, c, "y");
      expect_within(results[1], expected.rstd, DType::f32, "rstd");

      const auto in_place = run_twice(ops, [&]() -> std::vector<Values> {
        Operand y(ops, x, c, layout);
        Operand rstd(ops, p.tokens, p.groups, DType::f32);
        ops.rms_norm_forward(y, rstd, y, Operand(ops, weight, DType::f32), p.epsilon);
        return {y.read(), rstd.read()};
      });
      expect_equal(in_place[0], results[0], "y in place");
      expect_equal(in_place[1], results[1], "rstd in place");
    }
  }
}

TEST_P(RmsNorm, Backward) {
  uint64_t stream = 250;
  for (const Case& p : cases) {
    for (const bool accumulate : {false, true}) {
      SCOPED_TRACE(fmt::format("seed {} tokens {} groups {} columns {} accumulate {}", test_seed(),
                               p.tokens, p.groups, p.columns, accumulate));
      Random random(++stream);
      const Layout layout = accumulate ? Layout::dense : Layout::strided;
      const Values x = random_values(random, p.tokens, p.groups * p.columns, c, p.scale);
      const Values dy = random_values(random, p.tokens, p.groups * p.columns, c);
      const Values before = random_values(random, p.tokens, p.groups * p.columns, c);
      const Values weight = random_values(random, 1, p.columns, DType::f32);
      const Values rstd = rounded(
          reference::rms_norm_forward(x, weight, static_cast<double>(p.epsilon)).rstd, DType::f32);
      const auto run = [&](bool in_place) {
        return run_twice(ops, [&]() -> std::vector<Values> {
          const Operand weights(ops, weight, DType::f32);
          const Operand inverse(ops, rstd, DType::f32);
          const Operand dys(ops, dy, c, layout);
          Operand dx = accumulate ? Operand(ops, before, c, layout)
                                  : Operand(ops, x.rows(), x.cols(), c, layout);
          const Operand& target = in_place ? dys : dx;
          ops.rms_norm_backward(target, accumulate, dys, Operand(ops, x, c, layout), weights,
                                inverse);
          return {target.read()};
        })[0];
      };
      const auto precision = float_precision();
      Bounded expected =
          reference::rms_norm_backward(exact(dy), exact(x), exact(weight), exact(rstd));
      if (accumulate) expected = expected + exact(before);
      const Values dx = run(false);
      expect_within(dx, expected, c, "dx");
      if (!accumulate) expect_equal(run(true), dx, "dx in place of dy");
    }
  }
}

NIBBLE_OP_TESTS(RmsNorm);

}  // namespace
}  // namespace nibble::test
