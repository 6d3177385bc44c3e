#include "reference/lora_linear.h"

#include <gtest/gtest.h>

#include <deque>
#include <optional>

#include "core/rng.h"
#include "ops/op_test.h"
#include "ops/quantized_operand.h"

namespace nibble::test {
namespace {

enum class Weight { dense, nf4, nf4_double, fp4_double };
enum class Residual { none, separate, in_place };

// One layer of a group; rank 0: no adapter.
struct Member {
  int64_t out, rank;
  Weight weight = Weight::nf4_double;
  DType source = DType::bf16;
  bool bias = false;
  int block_size = 64;
};

struct Case {
  int64_t tokens, in;
  std::vector<Member> members;
  Residual residual = Residual::none;
  float dropout = 0;
};

std::vector<Case> cases() {
  using enum Weight;
  std::vector<Case> table = {
      {1, 1, {{1, 1, dense}}},
      {1, 6, {{1, 0, nf4}}},
      {1, 64, {{64, 8}}},
      {3, 100, {{7, 1, nf4, DType::f32, true}}},
      {17, 70, {{33, 16, nf4_double, DType::bf16, true}}, Residual::separate, 0.1f},
      {64, 64, {{130, 4, fp4_double, DType::f16}}, Residual::in_place, 0.5f},
      {130, 257, {{65, 17}}, Residual::separate},
      {5, 48, {{96, 0, dense, DType::bf16, true}}, Residual::in_place},
      {33, 512, {{48, 0}}},
      {200, 96, {{128, 8, dense, DType::bf16, true}}, Residual::none, 0.3f},
      {9, 64, {{40, 4}, {24, 4}, {24, 4}}},
      {70, 128, {{96, 16}, {96, 16}}},
      {40, 50, {{32, 3, nf4, DType::f32, true}, {8, 0, dense}, {17, 20}}, Residual::none, 0.2f},
      {31, 72, {{16, 0}, {48, 8, dense, DType::bf16, true}}, Residual::separate},
  };
  Random random(600);
  for (int i = 0; i < 20; ++i) {
    Case p{};
    p.tokens = random.integer(1, 140);
    p.in = random.integer(1, 200);
    for (int64_t members = random.integer(1, 3); members > 0; --members)
      p.members.push_back(
          {random.integer(1, 150), random.integer(0, 17), static_cast<Weight>(random.integer(0, 3)),
           random.integer(0, 1) ? DType::bf16 : DType::f32, random.integer(0, 1) == 1});
    p.residual = static_cast<Residual>(random.integer(0, 2));
    p.dropout = random.integer(0, 1) ? 0.25f : 0.0f;
    table.push_back(p);
  }
  // A few tokens, whose products a backend may compute from the codes; each case in both layouts.
  using enum DType;
  const std::vector<Case> few = {
      {1, 32, {{1, 0}}},
      {1, 128, {{16, 16, nf4, bf16, false, 32}}},
      {8, 4096, {{24, 8, nf4_double, bf16, true}}, Residual::separate},
      {2, 1536, {{33, 4, nf4, f32, false, 128}}, Residual::in_place},
      {8, 2080, {{130, 33, nf4_double, f16}}, Residual::separate},
      {4, 224, {{50, 16, nf4_double, bf16, true, 4096}}},
      {5, 160, {{48, 8}, {16, 0, nf4_double, f32, true, 128}, {17, 3}}, Residual::in_place},
      {3, 96, {{40, 5, fp4_double, f16, true, 32}, {16, 0, nf4, bf16, false, 256}, {17, 20}}},
      {6, 1000, {{21, 2, fp4_double, f32, false, 512}}, Residual::in_place},
      {7, 77, {{19, 3, nf4, bf16, true, 32}, {30, 14, nf4_double, f16}}, Residual::separate},
      {1, 64, {{8, 4, dense}, {8, 4}}},
      {2, 64, {{8, 4}, {9, 2}, {10, 0}, {11, 7}, {12, 1}}},
  };
  for (const Case& p : few) table.insert(table.end(), 2, p);
  return table;
}

constexpr uint64_t dropout_key = 0x0123456789abcdef, dropout_step = 0x1000000007;
constexpr float scaling = 1.7f;

// LoraAdapter::dropout_step.
Tensor counter(Ops& ops, uint64_t step) {
  const Operand halves(ops, 1, 2, DType::i32);
  ops.upload(halves, std::as_bytes(std::span(&step, 1)));
  return halves;
}

// One layer on the host, and as the reference sees it.
struct HostLayer {
  HostLayer(Random& random, const Case& p, const Member& m, DType compute, uint64_t layer_key)
      : key(layer_key) {
    const double scale = 1 / std::sqrt(static_cast<double>(p.in));
    const DType source = m.weight == Weight::dense ? compute : m.source;
    w = random_values(random, m.out, p.in, source, scale);
    if (m.weight != Weight::dense) {
      const QuantSpec quant{m.weight == Weight::fp4_double ? QuantType::fp4 : QuantType::nf4,
                            m.weight != Weight::nf4, m.block_size};
      quantized.emplace(to_floats(w), m.out, p.in, quant, source);
      const std::vector<float> decoded = quantized->decoded();
      std::copy(decoded.begin(), decoded.end(), w.values().begin());
      w = rounded(w, compute);
    }
    if (m.bias) bias = random_values(random, 1, m.out, compute);
    if (m.rank == 0) return;
    a = random_values(random, m.rank, p.in, DType::f32, scale);
    b = random_values(random, m.out, m.rank, DType::f32, 0.5);
    before_a = random_values(random, m.rank, p.in, DType::f32);
    before_b = random_values(random, m.out, m.rank, DType::f32);
    if (p.dropout == 0) return;
    // Element i of the flattened input is kept if word i % 4 of philox(key, i / 4, step) is not
    // below the probability, and then scaled (docs/numerics.md).
    mask = Bounded(p.tokens, p.in);
    const auto kept = static_cast<double>(1.0f / (1.0f - p.dropout));
    for (size_t i = 0; i < mask.values().size(); ++i) {
      const uint32_t word = philox(key, i / 4, dropout_step)[i % 4];
      mask.values()[i] = RunningError(uniform_float(word) >= p.dropout ? kept : 0);
    }
  }
  reference::LoraLinear<RunningError> reference() const {
    return {exact(w), exact(bias), exact(a), exact(b), RunningError(double{scaling}), mask};
  }
  bool adapted() const { return !a.empty(); }

  uint64_t key;
  Values w, bias, a, b, before_a, before_b;
  Bounded mask;
  std::optional<HostQuantized> quantized;
};

Values columns(const Values& x, int64_t begin, int64_t count) {
  Values part(x.rows(), count);
  for (int64_t i = 0; i < x.rows(); ++i)
    for (int64_t j = 0; j < count; ++j) part(i, j) = x(i, begin + j);
  return part;
}

void put_columns(Values& x, int64_t begin, const Values& part) {
  for (int64_t i = 0; i < x.rows(); ++i)
    for (int64_t j = 0; j < part.cols(); ++j) x(i, begin + j) = part(i, j);
}

// Everything a call needs, on the host.
struct Problem {
  Problem(const Case& p, DType compute, uint64_t stream) : c(compute), spec(p) {
    Random random(stream);
    trace = fmt::format("seed {} stream {} tokens {} in {} residual {} dropout {}", test_seed(),
                        stream, p.tokens, p.in, static_cast<int>(p.residual), p.dropout);
    for (const Member& m : p.members) {
      layers.emplace_back(random, p, m, c, dropout_key + layers.size());
      out += m.out;
      rank += m.rank;
      trace += fmt::format("; out {} rank {} weight {} bias {} block_size {}", m.out, m.rank,
                           static_cast<int>(m.weight), m.bias, m.block_size);
    }
    x = random_values(random, p.tokens, p.in, c);
    dy = random_values(random, p.tokens, out, c);
    before_y = random_values(random, p.tokens, out, c);
  }
  int64_t tail() const { return LinearGroup::lora_tail(rank); }
  // `values` and behind them the tail, holding `kept` in its first columns and else nothing.
  Values with_tail(const Values& values, const Values& kept = {}) const {
    Values wide(values.rows(), values.cols() + tail());
    put_columns(wide, 0, values);
    if (!kept.empty()) put_columns(wide, values.cols(), kept);
    return wide;
  }

  DType c;
  Case spec;
  std::deque<HostLayer> layers;
  int64_t out = 0, rank = 0;
  Values x, dy, before_y;
  std::string trace;
};

// The group in the backend's memory.
struct Layers {
  Layers(Ops& ops, const Problem& p) {
    for (const HostLayer& host : p.layers) {
      nibble::LoraLinear layer;
      layer.weight.out_features = host.w.rows();
      layer.weight.in_features = host.w.cols();
      if (host.quantized)
        layer.weight.quantized = QuantizedOperand(ops, *host.quantized).view();
      else
        layer.weight.dense = Operand(ops, host.w, p.c).tensor();
      if (!host.bias.empty()) layer.weight.bias = Operand(ops, host.bias, p.c).tensor();
      if (host.adapted()) {
        layer.lora.a = Operand(ops, host.a, DType::f32).tensor();
        layer.lora.b = Operand(ops, host.b, DType::f32).tensor();
        layer.lora.scaling = scaling;
        layer.lora.dropout = p.spec.dropout;
        layer.lora.dropout_key = host.key;
        layer.lora.dropout_step = counter(ops, dropout_step);
        gradients.emplace_back(ops, host.before_a, DType::f32);
        layer.gradient.a = gradients.back();
        gradients.emplace_back(ops, host.before_b, DType::f32);
        layer.gradient.b = gradients.back();
      }
      layers.push_back(layer);
    }
  }
  LinearGroup group() const { return {layers}; }
  std::vector<nibble::LoraLinear> layers;
  std::deque<Operand> gradients;
};

class LoraLinear : public OpTest {};

TEST_P(LoraLinear, Forward) {
  uint64_t stream = 610;
  for (const Case& spec : cases()) {
    const Problem p(spec, c, ++stream);
    SCOPED_TRACE(p.trace);
    const Layout layout = stream % 2 ? Layout::strided : Layout::dense;
    const auto run = [&](bool only_t, bool prepare) {
      return run_twice(ops, [&]() -> std::vector<Values> {
        const Layers layers(ops, p);
        const bool in_place = spec.residual == Residual::in_place;
        const Operand y = in_place ? Operand(ops, p.before_y, c, layout)
                                   : Operand(ops, p.before_y.rows(), p.before_y.cols(), c, layout);
        const Operand before(ops, p.before_y, c);
        const Operand x(ops, p.with_tail(p.x), c, layout);
        Tensor residual;
        if (in_place) residual = y;
        if (spec.residual == Residual::separate) residual = before;
        const LinearGroup group =
            prepare ? ops.prepare(layers.group(), p.x.rows(), c) : layers.group();
        ops.lora_linear_forward(only_t ? Tensor{} : y.tensor(), only_t ? Tensor{} : residual, x,
                                group);
        std::vector<Values> results{columns(x.read(), p.x.cols(), p.rank)};
        expect_equal(columns(x.read(), 0, p.x.cols()), p.x, "x");
        if (!only_t) results.push_back(y.read());
        return results;
      });
    };
    const auto results = run(false, false), prepared = run(false, true);
    for (size_t i = 0; i < results.size(); ++i)
      expect_equal(prepared[i], results[i], "with prepared weights");
    if (p.rank > 0) expect_equal(run(true, false)[0], results[0], "t alone");
    if (p.rank > 0) expect_equal(run(true, true)[0], results[0], "t alone, prepared");
    const auto precision = product_precision(c);
    int64_t out = 0, rank = 0;
    for (const HostLayer& layer : p.layers) {
      auto expected = reference::lora_linear_forward(exact(p.x), layer.reference());
      const Values before = columns(p.before_y, out, layer.w.rows());
      if (spec.residual != Residual::none) expected.y = expected.y + exact(before);
      expect_within(columns(results[1], out, layer.w.rows()), expected.y, c, "y",
                    {layer.adapted() ? 2 : 1});
      if (layer.adapted())
        expect_within(columns(results[0], rank, layer.a.rows()), expected.t, c, "t");
      out += layer.w.rows();
      rank += layer.a.rows();
    }
  }
}

TEST_P(LoraLinear, Backward) {
  uint64_t stream = 610;
  for (const Case& spec : cases()) {
    const Problem p(spec, c, ++stream);
    SCOPED_TRACE(p.trace);
    const Layout layout = stream % 2 ? Layout::strided : Layout::dense;
    Values t(spec.tokens, p.rank);
    int64_t rank = 0;
    for (const HostLayer& layer : p.layers) {
      if (!layer.adapted()) continue;
      const auto forward = reference::lora_linear_forward(exact(p.x), layer.reference());
      Values part(spec.tokens, layer.a.rows());
      for (size_t i = 0; i < part.values().size(); ++i)
        part.values()[i] = forward.t.values()[i].value();
      put_columns(t, rank, rounded(part, c));
      rank += layer.a.rows();
    }
    const auto run = [&](bool with_dx, bool prepare = false) {
      return run_twice(ops, [&]() -> std::vector<Values> {
        const Layers layers(ops, p);
        const Operand dx(ops, p.x.rows(), p.x.cols(), c);
        const Operand dy(ops, p.with_tail(p.dy), c, layout);
        const LinearGroup group =
            prepare ? ops.prepare(layers.group(), p.x.rows(), c) : layers.group();
        ops.lora_linear_backward(with_dx ? dx.tensor() : Tensor{}, dy,
                                 Operand(ops, p.with_tail(p.x, t), c, layout), group);
        std::vector<Values> results;
        for (const Operand& gradient : layers.gradients) results.push_back(gradient.read());
        expect_equal(columns(dy.read(), 0, p.dy.cols()), p.dy, "dy");
        if (with_dx) results.push_back(dx.read());
        return results;
      });
    };
    const auto results = run(true), without_dx = run(false), prepared = run(true, true);
    for (size_t i = 0; i < results.size(); ++i)
      expect_equal(prepared[i], results[i], "with prepared weights");
    const auto precision = product_precision(c);
    Bounded dx(p.x.rows(), p.x.cols());
    int64_t out = 0;
    rank = 0;
    size_t result = 0;
    for (const HostLayer& layer : p.layers) {
      const Values dy = columns(p.dy, out, layer.w.rows());
      const auto expected = reference::lora_linear_backward(
          exact(dy), exact(p.x), exact(columns(t, rank, layer.a.rows())), layer.reference());
      dx = dx + expected.dx;
      out += layer.w.rows();
      rank += layer.a.rows();
      if (!layer.adapted()) continue;
      expect_equal(without_dx[result], results[result], "gradient.a without dx");
      expect_within(results[result++], expected.da + exact(layer.before_a), DType::f32,
                    "gradient.a");
      expect_equal(without_dx[result], results[result], "gradient.b without dx");
      expect_within(results[result++], expected.db + exact(layer.before_b), DType::f32,
                    "gradient.b");
    }
    // The layers' contributions may be added in the compute dtype.
    const bool once = p.layers.size() == 1 && p.rank == 0;
    expect_within(results.back(), dx, c, "dx", {once ? 1 : 1 + static_cast<int>(p.layers.size())});
  }
}

// A tiny adapter that copies x into t shows the mask itself, element for element.
TEST_P(LoraLinear, DropoutMaskIsPhilox) {
  const int64_t tokens = 37, in = 24;
  Values identity(in, in), zeros(1, in), x(tokens, in);
  for (int64_t i = 0; i < in; ++i) identity(i, i) = 1;
  for (double& value : x.values()) value = 1;
  for (const float dropout : {0.0f, 0.1f, 0.5f, 0.9f}) {
    for (const auto& [step, first_row] :
         {std::pair<uint64_t, int64_t>{0, 0}, {1, 0}, {uint64_t{1} << 40, 0}, {3, 11}}) {
      const auto results = run_twice(ops, [&]() -> std::vector<Values> {
        nibble::LoraLinear layer;
        FrozenLinear& w = layer.weight;
        w.out_features = 1;
        w.in_features = in;
        w.dense = Operand(ops, zeros, c).tensor();
        LoraAdapter& lora = layer.lora;
        lora.a = Operand(ops, identity, DType::f32).tensor();
        lora.b = Operand(ops, zeros, DType::f32).tensor();
        lora.scaling = 1;
        lora.dropout = dropout;
        lora.dropout_key = 77;
        lora.dropout_step = counter(ops, step);
        Values wide(tokens, in + LinearGroup::lora_tail(in));
        put_columns(wide, 0, x);
        const Operand input(ops, wide, c);
        LinearGroup group{{&layer, 1}};
        group.first_row = first_row;
        ops.lora_linear_forward({}, {}, input, group);
        return {columns(input.read(), in, in)};
      });
      Values kept(1, 1), expected(tokens, in);
      kept(0, 0) = static_cast<double>(1.0f / (1.0f - dropout));
      const double scale = rounded(kept, c)(0, 0);
      int64_t dropped = 0;
      for (size_t i = 0; i < expected.values().size(); ++i) {
        const uint64_t element = i + static_cast<uint64_t>(first_row * in);
        const bool keep = uniform_float(philox(77, element / 4, step)[element % 4]) >= dropout;
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
