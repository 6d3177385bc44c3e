#include "reference/gated_silu.h"

#include <gtest/gtest.h>

#include "ops/op_test.h"

namespace nibble::test {
namespace {

struct Case {
  int64_t tokens, columns;
  double scale;  // of gate
};

const Case cases[] = {{1, 1, 1}, {1, 7, 1}, {3, 64, 1}, {5, 100, 10}, {33, 257, 1}, {7, 96, 40}};

class GatedSilu : public OpTest {};

TEST_P(GatedSilu, Forward) {
  uint64_t stream = 400;
  for (const Case& p : cases) {
    for (const Layout layout : {Layout::dense, Layout::strided}) {
      SCOPED_TRACE(fmt::format("seed {} {} x {}", test_seed(), p.tokens, p.columns));
      Random random(++stream);
      const Values gate = random_values(random, p.tokens, p.columns, c, p.scale);
      const Values up = random_values(random, p.tokens, p.columns, c);
      const auto results = run_twice(ops, [&]() -> std::vector<Values> {
        Operand y(ops, p.tokens, p.columns, c);
        ops.gated_silu_forward(y, Operand(ops, gate, c, layout), Operand(ops, up, c, layout));
        return {y.read()};
      });
      const auto precision = float_precision();
      expect_within(results[0], reference::gated_silu_forward(exact(gate), exact(up)), c, "y");
    }
  }
}

TEST_P(GatedSilu, Backward) {
  uint64_t stream = 420;
  for (const Case& p : cases) {
    for (const Layout layout : {Layout::dense, Layout::strided}) {
      SCOPED_TRACE(fmt::format("seed {} {} x {}", test_seed(), p.tokens, p.columns));
      Random random(++stream);
      const Values gate = random_values(random, p.tokens, p.columns, c, p.scale);
      const Values up = random_values(random, p.tokens, p.columns, c);
      const Values dy = random_values(random, p.tokens, p.columns, c);
      const auto run = [&](bool in_place) {
        return run_twice(ops, [&]() -> std::vector<Values> {
          const Operand gates(ops, gate, c, layout), ups(ops, up, c, layout), dys(ops, dy, c);
          const Operand dgate(ops, p.tokens, p.columns, c, layout);
          const Operand dup(ops, p.tokens, p.columns, c, layout);
          const Operand& to_gate = in_place ? gates : dgate;
          const Operand& to_up = in_place ? ups : dup;
          ops.gated_silu_backward(to_gate, to_up, dys, gates, ups);
          return {to_gate.read(), to_up.read()};
        });
      };
      const auto results = run(false);
      const auto precision = float_precision();
      const auto expected = reference::gated_silu_backward(exact(dy), exact(gate), exact(up));
      expect_within(results[0], expected.dgate, c, "dgate");
      expect_within(results[1], expected.dup, c, "dup");
      const auto in_place = run(true);
      expect_equal(in_place[0], results[0], "dgate in place of gate");
      expect_equal(in_place[1], results[1], "dup in place of up");
    }
  }
}

TEST_P(GatedSilu, ColumnRangesOfOneProjection) {
  // Gate and up as the fused projection leaves them, and their gradients in its place.
  Random random(450);
  const int64_t tokens = 5, columns = 20;
  const Values fused = random_values(random, tokens, 2 * columns, c);
  const Values dy = random_values(random, tokens, columns, c);
  Values gate(tokens, columns), up(tokens, columns);
  for (int64_t i = 0; i < tokens; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      gate(i, j) = fused(i, j);
      up(i, j) = fused(i, columns + j);
    }
  }
  const auto results = run_twice(ops, [&]() -> std::vector<Values> {
    const Operand both(ops, fused, c), dys(ops, dy, c);
    const Tensor g = both.tensor().columns(0, columns);
    const Tensor u = both.tensor().columns(columns, columns);
    const Operand y(ops, tokens, columns, c);
    ops.gated_silu_forward(y, g, u);
    ops.gated_silu_backward(g, u, dys, g, u);
    return {y.read(), both.read()};
  });
  const auto precision = float_precision();
  expect_within(results[0], reference::gated_silu_forward(exact(gate), exact(up)), c, "y");
  const auto expected = reference::gated_silu_backward(exact(dy), exact(gate), exact(up));
  Bounded both(tokens, 2 * columns);
  for (int64_t i = 0; i < tokens; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      both(i, j) = expected.dgate(i, j);
      both(i, columns + j) = expected.dup(i, j);
    }
  }
  expect_within(results[1], both, c, "dgate and dup");
}

NIBBLE_OP_TESTS(GatedSilu);

}  // namespace
}  // namespace nibble::test
