#include "reference/linear_cross_entropy.h"

#include <gtest/gtest.h>

#include "ops/op_test.h"

namespace nibble::test {
namespace {

struct Case {
  int64_t tokens, features, vocabulary;
  double trained;  // share of the tokens that have a label
  double scale;    // of the head
};

const Case cases[] = {
    {1, 1, 1, 1, 1},        {1, 6, 9, 1, 1},
    {5, 64, 100, 0.5, 0.3}, {33, 48, 257, 0.7, 0.2},
    {70, 100, 33, 0, 0.1},  {600, 16, 50, 0.9, 0.5},    // more than one chunk
    {9, 20, 1000, 1, 2},                                // confident, some of it wrong
    {40, 8, 3, 0.03, 1},    {23, 12, 20011, 0.9, 0.5},  // more than one tile of the vocabulary
};

class LinearCrossEntropy : public OpTest {};

TEST_P(LinearCrossEntropy, LossAndGradient) {
  uint64_t stream = 700;
  for (const Case& p : cases) {
    SCOPED_TRACE(fmt::format("seed {} tokens {} features {} vocabulary {} trained {}", test_seed(),
                             p.tokens, p.features, p.vocabulary, p.trained));
    Random random(++stream);
    const Values x = random_values(random, p.tokens, p.features, c);
    const Values head = random_values(random, p.vocabulary, p.features, c, p.scale);
    const float gradient = 0.37f;
    std::vector<int32_t> labels;
    Values label_values(1, p.tokens);
    int64_t trained = 0;
    for (int64_t i = 0; i < p.tokens; ++i) {
      const bool has = random.uniform() < p.trained;
      labels.push_back(has ? static_cast<int32_t>(random.integer(0, p.vocabulary - 1)) : -100);
      label_values(0, i) = labels.back();
      trained += has ? 1 : 0;
    }
    Values before(1, 1);
    before(0, 0) = 10;
    Values scale(1, 1);
    scale(0, 0) = gradient;

    enum class Gradient { apart, in_place, none };
    const auto run = [&](Gradient to, LogitsIn held = LogitsIn::rows) {
      return run_twice(ops, [&]() -> std::vector<Values> {
        const Operand loss(ops, before, DType::f32), xs(ops, x, c);
        const Operand apart(ops, p.tokens, p.features, c);
        const Operand& dx = to == Gradient::in_place ? xs : apart;
        ops.linear_cross_entropy(loss, to == Gradient::none ? Tensor{} : dx.tensor(), xs,
                                 Operand(ops, head, c), Operand(ops, label_values, DType::i32),
                                 trained, Operand(ops, scale, DType::f32), held);
        std::vector<Values> results = {loss.read()};
        if (to != Gradient::none) results.push_back(dx.read());
        return results;
      });
    };
    const auto results = run(Gradient::apart);
    // Logits are float32; their gradient may be rounded to the compute dtype.
    const auto precision = float_precision();
    const auto expected = reference::linear_cross_entropy(exact(x), exact(head), labels,
                                                          static_cast<double>(gradient));
    Bounded loss(1, 1);
    loss(0, 0) = expected.loss + RunningError(10);
    expect_within(results[0], loss, DType::f32, "loss");
    expect_within(results[1], expected.dx, c, "dx", {2});
    for (int64_t i = 0; i < p.tokens; ++i) {
      if (labels[static_cast<size_t>(i)] >= 0) continue;
      for (int64_t j = 0; j < p.features; ++j) ASSERT_EQ(results[1](i, j), 0.0);
    }
    const auto in_place = run(Gradient::in_place);
    expect_equal(in_place[0], results[0], "loss in place");
    expect_equal(in_place[1], results[1], "dx in place");
    expect_equal(run(Gradient::none)[0], results[0], "loss alone");
    const auto in_tiles = run(Gradient::apart, LogitsIn::tiles);
    expect_equal(in_tiles[0], results[0], "loss by tiles");
    expect_equal(in_tiles[1], results[1], "dx by tiles");
    expect_equal(run(Gradient::none, LogitsIn::tiles)[0], results[0], "loss alone by tiles");
  }
}

TEST_P(LinearCrossEntropy, Logits) {
  Random random(750);
  SCOPED_TRACE(test_seed());
  for (const auto& [tokens, features, vocabulary] :
       {std::array<int64_t, 3>{1, 6, 9}, {3, 64, 257}, {17, 33, 100}}) {
    const Values x = random_values(random, tokens, features, c);
    const Values head = random_values(random, vocabulary, features, c);
    const auto results = run_twice(ops, [&]() -> std::vector<Values> {
      const Operand logits(ops, tokens, vocabulary, DType::f32);
      ops.logits(logits, Operand(ops, x, c), Operand(ops, head, c));
      return {logits.read()};
    });
    // Products of two bfloat16 numbers are exact in float32, and so is the output: this is as
    // precise in either compute dtype.
    const auto precision = float_precision();
    expect_within(results[0], reference::product_nt(exact(x), exact(head)), DType::f32, "logits");
  }
}

NIBBLE_OP_TESTS(LinearCrossEntropy);

}  // namespace
}  // namespace nibble::test
