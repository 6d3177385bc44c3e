#include "reference/lora_linear.h"

#include <gtest/gtest.h>

#include <optional>

#include "core/rng.h"
#include "ops/op_test.h"
#include "ops/quantized_operand.h"

namespace nibble::test {
namespace {

enum class Weight { dense, nf4, nf4_double, fp4_double };
enum class Residual { none, separate, in_place };

struct Case {
  int64_t tokens, in, out, rank;  // rank 0: no adapter
  Weight weight = Weight::nf4_double;
  DType source = DType::bf16;
  bool bias = false;
  Residual residual = Residual::none;
  float dropout = 0;
  bool accumulate = false;
};

std::vector<Case> cases() {
  std::vector<Case> table = {
      {1, 1, 1, 1, Weight::dense},
      {1, 6, 1, 0, Weight::nf4},
      {1, 64, 64, 8},
      {3, 100, 7, 1, Weight::nf4, DType::f32, true},
      {17, 70, 33, 16, Weight::nf4_double, DType::bf16, true, Residual::separate, 0.1f, true},
      {64, 64, 130, 4, Weight::fp4_double, DType::f16, false, Residual::in_place, 0.5f, false},
      {130, 257, 65, 17, Weight::nf4_double, DType::bf16, false, Residual::separate, 0, true},
      {5, 48, 96, 0, Weight::dense, DType::bf16, true, Residual::in_place},
      {33, 512, 48, 0},
      {200, 96, 128, 8, Weight::dense, DType::bf16, true, Residual::none, 0.3f, true},
  };
  Random random(600);
  for (int i = 0; i < 16; ++i) {
    Case p{};
    p.tokens = random.integer(1, 140);
    p.in = random.integer(1, 200);
    p.out = random.integer(1, 150);
    p.rank = random.integer(0, 17);
    p.weight = static_cast<Weight>(random.integer(0, 3));
    p.source = random.integer(0, 1) ? DType::bf16 : DType::f32;
    p.bias = random.integer(0, 1) == 1;
    p.residual = static_cast<Residual>(random.integer(0, 2));
    p.dropout = random.integer(0, 1) ? 0.25f : 0.0f;
    p.accumulate = random.integer(0, 1) == 1;
    table.push_back(p);
  }
  return table;
}

// Everything a call needs, on the host, and as the reference sees it.
struct Problem {
  Problem(const Case& p, DType compute, uint64_t stream) : c(compute), spec(p) {
    Random random(stream);
    const double scale = 1 / std::sqrt(static_cast<double>(p.in));
    const DType source = p.weight == Weight::dense ? c : p.source;
    w = random_values(random, p.out, p.in, source, scale);
    if (p.weight != Weight::dense) {
      const QuantSpec quant{p.weight == Weight::fp4_double ? QuantType::fp4 : QuantType::nf4,
                            p.weight != Weight::nf4, 64};
      quantized.emplace(to_floats(w), p.out, p.in, quant, source);
      const std::vector<float> decoded = quantized->decoded();
      std::copy(decoded.begin(), decoded.end(), w.values().begin());
      w = rounded(w, c);
    }
    x = random_values(random, p.tokens, p.in, c);
    dy = random_values(random, p.tokens, p.out, c);
    before_y = random_values(random, p.tokens, p.out, c);
    before_dx = random_values(random, p.tokens, p.in, c);
    if (p.bias) bias = random_values(random, 1, p.out, c);
    if (p.rank > 0) {
      a = random_values(random, p.rank, p.in, DType::f32, scale);
      b = random_values(random, p.out, p.rank, DType::f32, 0.5);
      before_a = random_values(random, p.rank, p.in, DType::f32);
      before_b = random_values(random, p.out, p.rank, DType::f32);
    }
    trace = fmt::format(
        "seed {} stream {} tokens {} in {} out {} rank {} weight {} bias {} residual {} dropout {} "
        "accumulate {}",
        test_seed(), stream, p.tokens, p.in, p.out, p.rank, static_cast<int>(p.weight), p.bias,
        static_cast<int>(p.residual), p.dropout, p.accumulate);
  }

  // Element i of the flattened input is kept if word i % 4 of philox(key, i / 4, step) is not below
  // the probability, and then scaled (docs/numerics.md).
  reference::Matrix<RunningError> mask() const {
    if (spec.dropout == 0 || spec.rank == 0) return {};
    Bounded mask(x.rows(), x.cols());
    const auto scale = static_cast<double>(1.0f / (1.0f - spec.dropout));
    for (size_t i = 0; i < mask.values().size(); ++i) {
      const uint32_t word = philox(key, i / 4, step)[i % 4];
      mask.values()[i] = RunningError(uniform_float(word) >= spec.dropout ? scale : 0);
    }
    return mask;
  }
  reference::LoraLinear<RunningError> layer() const {
    return {exact(w), exact(bias), exact(a), exact(b), RunningError(double{scaling}), mask()};
  }

  static constexpr uint64_t key = 0x0123456789abcdef, step = 0x1000000007;
  static constexpr float scaling = 1.7f;
  DType c;
  Case spec;
  Values w, x, dy, bias, a, b, before_y, before_dx, before_a, before_b;
  std::optional<HostQuantized> quantized;
  std::string trace;
};

// The layer's parameters in the backend's memory.
struct Layer {
  Layer(Ops& ops, const Problem& p) {
    w.out_features = p.w.rows();
    w.in_features = p.w.cols();
    if (p.quantized)
      w.quantized = QuantizedOperand(ops, *p.quantized).view();
    else
      w.dense = Operand(ops, p.w, p.c).tensor();
    if (!p.bias.empty()) w.bias = Operand(ops, p.bias, p.c).tensor();
    if (p.a.empty()) return;
    lora.a = Operand(ops, p.a, DType::f32).tensor();
    lora.b = Operand(ops, p.b, DType::f32).tensor();
    lora.scaling = Problem::scaling;
    lora.dropout = p.spec.dropout;
    lora.dropout_key = Problem::key;
    lora.dropout_step = Problem::step;
  }
  FrozenLinear w;
  LoraAdapter lora;
};

class LoraLinear : public OpTest {};

TEST_P(LoraLinear, Forward) {
  uint64_t stream = 610;
  for (const Case& spec : cases()) {
    const Problem p(spec, c, ++stream);
    SCOPED_TRACE(p.trace);
    const bool adapted = spec.rank > 0;
    const auto run = [&](bool only_t) {
      return run_twice(ops, [&]() -> std::vector<Values> {
        const Layer layer(ops, p);
        const bool in_place = spec.residual == Residual::in_place;
        const Operand y = in_place ? Operand(ops, p.before_y, c)
                                   : Operand(ops, p.before_y.rows(), p.before_y.cols(), c);
        const Operand before(ops, p.before_y, c);
        const Operand t(ops, spec.tokens, std::max<int64_t>(spec.rank, 1), c);
        Tensor residual;
        if (in_place) residual = y;
        if (spec.residual == Residual::separate) residual = before;
        ops.lora_linear_forward(only_t ? Tensor{} : y.tensor(), adapted ? t.tensor() : Tensor{},
                                only_t ? Tensor{} : residual, Operand(ops, p.x, c), layer.w,
                                layer.lora);
        std::vector<Values> results;
        if (adapted) results.push_back(t.read());
        if (!only_t) results.push_back(y.read());
        return results;
      });
    };
    const auto results = run(false);
    const auto precision = product_precision(c);
    auto expected = reference::lora_linear_forward(exact(p.x), p.layer());
    if (spec.residual != Residual::none) expected.y = expected.y + exact(p.before_y);
    expect_within(results.back(), expected.y, c, "y", {adapted ? 2 : 1});
    if (adapted) {
      expect_within(results[0], expected.t, c, "t");
      expect_equal(run(true)[0], results[0], "t alone");
    }
  }
}

TEST_P(LoraLinear, Backward) {
  uint64_t stream = 610;
  for (const Case& spec : cases()) {
    const Problem p(spec, c, ++stream);
    SCOPED_TRACE(p.trace);
    const bool adapted = spec.rank > 0;
    Values t;
    if (adapted) {
      const auto forward = reference::lora_linear_forward(exact(p.x), p.layer());
      t = Values(spec.tokens, spec.rank);
      for (size_t i = 0; i < t.values().size(); ++i) t.values()[i] = forward.t.values()[i].value();
      t = rounded(t, c);
    }
    const auto run = [&](bool with_dx) {
      return run_twice(ops, [&]() -> std::vector<Values> {
        const Layer layer(ops, p);
        const Operand dx = spec.accumulate
                               ? Operand(ops, p.before_dx, c)
                               : Operand(ops, p.before_dx.rows(), p.before_dx.cols(), c);
        LoraGradient gradient;
        std::optional<Operand> da, db, kept;
        if (adapted) {
          da.emplace(ops, p.before_a, DType::f32);
          db.emplace(ops, p.before_b, DType::f32);
          kept.emplace(ops, t, c);
          gradient = {*da, *db};
        }
        ops.lora_linear_backward(with_dx ? dx.tensor() : Tensor{}, with_dx && spec.accumulate,
                                 gradient, Operand(ops, p.dy, c), Operand(ops, p.x, c),
                                 kept ? kept->tensor() : Tensor{}, layer.w, layer.lora);
        std::vector<Values> results;
        if (adapted) results = {da->read(), db->read()};
        if (with_dx) results.push_back(dx.read());
        return results;
      });
    };
    const auto results = run(true);
    const auto precision = product_precision(c);
    auto expected = reference::lora_linear_backward(exact(p.dy), exact(p.x), exact(t), p.layer());
    if (spec.accumulate) expected.dx = expected.dx + exact(p.before_dx);
    expect_within(results.back(), expected.dx, c, "dx", {adapted ? 2 : 1});
    if (adapted) {
      expect_within(results[0], expected.da + exact(p.before_a), DType::f32, "gradient.a");
      expect_within(results[1], expected.db + exact(p.before_b), DType::f32, "gradient.b");
      const auto without_dx = run(false);
      expect_equal(without_dx[0], results[0], "gradient.a without dx");
      expect_equal(without_dx[1], results[1], "gradient.b without dx");
    }
  }
}

// A tiny adapter that copies x into t shows the mask itself, element for element.
TEST_P(LoraLinear, DropoutMaskIsPhilox) {
  const int64_t tokens = 37, in = 24;
  Values identity(in, in), zeros(1, in), x(tokens, in);
  for (int64_t i = 0; i < in; ++i) identity(i, i) = 1;
  for (double& value : x.values()) value = 1;
  for (const float dropout : {0.0f, 0.1f, 0.5f, 0.9f}) {
    for (const uint64_t step : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 40}) {
      const auto results = run_twice(ops, [&]() -> std::vector<Values> {
        FrozenLinear w;
        w.out_features = 1;
        w.in_features = in;
        w.dense = Operand(ops, zeros, c).tensor();
        LoraAdapter lora;
        lora.a = Operand(ops, identity, DType::f32).tensor();
        lora.b = Operand(ops, zeros, DType::f32).tensor();
        lora.scaling = 1;
        lora.dropout = dropout;
        lora.dropout_key = 77;
        lora.dropout_step = step;
        const Operand t(ops, tokens, in, c);
        ops.lora_linear_forward({}, t, {}, Operand(ops, x, c), w, lora);
        return {t.read()};
      });
      Values kept(1, 1), expected(tokens, in);
      kept(0, 0) = static_cast<double>(1.0f / (1.0f - dropout));
      const double scale = rounded(kept, c)(0, 0);
      int64_t dropped = 0;
      for (size_t i = 0; i < expected.values().size(); ++i) {
        const bool keep = uniform_float(philox(77, i / 4, step)[i % 4]) >= dropout;
        expected.values()[i] = keep ? scale : 0;
        dropped += keep ? 0 : 1;
      }
      expect_equal(results[0], expected, "mask");
      // A binomial of 888 elements: within five deviations of its mean.
      const auto n = static_cast<double>(tokens * in), rate = static_cast<double>(dropout);
      EXPECT_NEAR(static_cast<double>(dropped), n * rate, 5 * std::sqrt(n * rate * (1 - rate)));
    }
  }
}

NIBBLE_OP_TESTS(LoraLinear);

}  // namespace
}  // namespace nibble::test
