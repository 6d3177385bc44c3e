#include "ops/attention_problem.h"

namespace nibble::test {
namespace {

std::vector<AttentionCase> cases() {
  std::vector<AttentionCase> table = {
      {1, 1, 1, 0, {1}, {}},
      {1, 1, 6, 0, {5}, {}},
      {2, 1, 6, 0, {1, 2, 7}, {}},
      {4, 2, 64, 0, {64, 65}, {}},
      {3, 3, 80, 0, {130}, {}},
      {4, 1, 128, 0, {63, 1, 70}, {}},
      {2, 2, 16, 1, {9}, {}},         // a query sees itself alone
      {2, 1, 32, 7, {100, 3}, {}},    // a window within a tile
      {2, 2, 24, 64, {200, 30}, {}},  // and one across tiles
      {2, 1, 8, 500, {150}, {}},      // and one that never cuts
      {2, 1, 64, 0, {1}, {100}},      // generation: one query, many keys
      {3, 1, 128, 0, {1}, {1500}},
      {2, 1, 160, 300, {2}, {700}},
      {4, 2, 80, 0, {8, 1}, {333, 0}},
      {2, 2, 30, 0, {5}, {131}},
      {4, 2, 16, 0, {1, 5, 70}, {0, 64, 129}},
      {2, 1, 16, 20, {3, 66}, {90, 1}},
      {2, 1, 8, 0, {4, 0, 3}, {0, 0, 0}},  // a document without tokens
      {2, 1, 8, 0, {2, 0}, {1, 5}},        // and one with keys only: their gradient is zero
  };
  Random random(500);
  for (int i = 0; i < 6; ++i) {
    AttentionCase p{};
    p.kv_heads = random.integer(1, 3);
    p.heads = p.kv_heads * random.integer(1, 3);
    p.head_dim = random.integer(1, 40) * 2;
    p.window = random.integer(0, 2) == 0 ? random.integer(1, 90) : 0;
    for (int64_t d = random.integer(1, 4); d > 0; --d) p.queries.push_back(random.integer(1, 120));
    table.push_back(p);
  }
  return table;
}

class Attention : public OpTest {};

TEST_P(Attention, Forward) {
  uint64_t stream = 510;
  for (const AttentionCase& p : cases()) {
    const AttentionProblem a(p, c, ++stream);
    SCOPED_TRACE(a.trace);
    const Layout layout = stream % 2 ? Layout::strided : Layout::dense;
    const auto results = run_twice(ops, [&]() -> std::vector<Values> {
      const Operand out(ops, a.q.rows(), a.q.cols(), c, layout);
      const Operand lse(ops, a.q.rows(), p.heads, DType::f32);
      ops.attention_forward(out, lse, Operand(ops, a.q, c, layout), Operand(ops, a.k, c, layout),
                            Operand(ops, a.v, c, layout), on_device(ops, a.documents), a.shape);
      return {out.read(), lse.read()};
    });
    // Scores are float32 sums of products that are exact for bfloat16; probabilities, the factors
    // of the output's terms, may be rounded to the compute dtype.
    const auto precision = float_precision();
    const auto expected =
        reference::attention_forward(exact(a.q), exact(a.k), exact(a.v), a.documents, a.shape);
    double largest = 0;
    for (const double value : a.v.values()) largest = std::max(largest, std::fabs(value));
    const double below = static_cast<double>(a.k.rows()) * subnormal_roundoff(c) * largest;
    expect_within(results[0], expected.out, c, "out", {2, below});
    expect_within(results[1], expected.lse, DType::f32, "lse");
  }
}

TEST_P(Attention, Backward) {
  uint64_t stream = 510;
  for (const AttentionCase& p : cases()) {
    const AttentionProblem a(p, c, ++stream);
    SCOPED_TRACE(a.trace);
    const Layout layout = stream % 2 ? Layout::strided : Layout::dense;
    const auto forward = reference::attention_forward(a.q, a.k, a.v, a.documents, a.shape);
    const Values out = rounded(forward.out, c);
    const Values lse = rounded(forward.lse, DType::f32);
    const auto results = run_twice(ops, [&]() -> std::vector<Values> {
      const Operand dq(ops, a.q.rows(), a.q.cols(), c, layout);
      const Operand dk(ops, a.k.rows(), a.k.cols(), c, layout);
      const Operand dv(ops, a.v.rows(), a.v.cols(), c, layout);
      ops.attention_backward(dq, dk, dv, Operand(ops, a.dout, c, layout),
                             Operand(ops, out, c, layout), Operand(ops, lse, DType::f32),
                             Operand(ops, a.q, c, layout), Operand(ops, a.k, c, layout),
                             Operand(ops, a.v, c, layout), on_device(ops, a.documents), a.shape);
      return {dq.read(), dk.read(), dv.read()};
    });
    expect_gradients(results, a, out, lse, c);
  }
}

TEST_P(Attention, LargeScoresDoNotOverflow) {
  // Scores of +-10^4 put all weight on one key.
  const int64_t tokens = 70, head_dim = 16;
  const std::vector<int32_t> offsets = {0, 70};
  const Documents documents{offsets, offsets};
  const AttentionShape shape{1, 1, head_dim, 1.0f, 0};
  Values q(tokens, head_dim), k(tokens, head_dim), v(tokens, head_dim);
  for (int64_t i = 0; i < tokens; ++i) {
    q(i, 0) = 128;
    k(i, 0) = i == 3 ? 64 : -64;
    for (int64_t j = 0; j < head_dim; ++j) v(i, j) = static_cast<double>(i);
  }
  const auto results = run_twice(ops, [&]() -> std::vector<Values> {
    const Operand out(ops, tokens, head_dim, c);
    const Operand lse(ops, tokens, 1, DType::f32);
    ops.attention_forward(out, lse, Operand(ops, q, c), Operand(ops, k, c), Operand(ops, v, c),
                          on_device(ops, documents), shape);
    return {out.read(), lse.read()};
  });
  for (int64_t i = 3; i < tokens; ++i) {
    for (int64_t j = 0; j < head_dim; ++j) EXPECT_EQ(results[0](i, j), 3.0);
    EXPECT_EQ(results[1](i, 0), 8192.0);
  }
}

NIBBLE_OP_TESTS(Attention);

}  // namespace
}  // namespace nibble::test
