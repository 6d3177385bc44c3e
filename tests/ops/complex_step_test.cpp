// Every backward formula of the reference against the derivative of its forward by complex step
// (Squire and Trapp 1998): with a step of 1e-30 there is no truncation and no cancellation, so they
// agree to rounding, 1e-12 of the largest entry.
#include <gtest/gtest.h>

#include <algorithm>
#include <complex>
#include <string>
#include <vector>

#include "reference/block.h"
#include "support/random.h"

namespace nibble::reference {
namespace {

using Complex = std::complex<double>;
using Real = Matrix<double>;

constexpr double step = 1e-30;

Real random_matrix(test::Random& random, int64_t rows, int64_t cols, double scale = 1) {
  Real x(rows, cols);
  for (double& value : x.values()) value = scale * random.normal();
  return x;
}

// d loss / dx for a loss that is given as a function of the complex x.
template <typename Loss>
Real complex_step(const Real& x, Loss loss) {
  Real gradient(x.rows(), x.cols());
  Matrix<Complex> z = convert<Complex>(x);
  for (size_t i = 0; i < z.values().size(); ++i) {
    z.values()[i] += Complex(0, step);
    gradient.values()[i] = loss(z).imag() / step;
    z.values()[i] = x.values()[i];
  }
  return gradient;
}

// sum of y * dy: the loss whose gradient with respect to y is dy.
Complex dot(const Matrix<Complex>& y, const Real& dy) {
  Complex sum = 0;
  for (size_t i = 0; i < y.values().size(); ++i) sum += y.values()[i] * dy.values()[i];
  return sum;
}

void expect_equal(const Real& got, const Real& expected, const std::string& what) {
  ASSERT_EQ(got.values().size(), expected.values().size()) << what;
  double largest = 1e-3;  // a gradient that is zero throughout is compared absolutely
  for (const double value : expected.values()) largest = std::max(largest, std::fabs(value));
  for (size_t i = 0; i < got.values().size(); ++i)
    ASSERT_NEAR(got.values()[i], expected.values()[i], 1e-12 * largest) << what << " " << i;
}

TEST(ComplexStep, RmsNorm) {
  test::Random random(101);
  SCOPED_TRACE(test::test_seed());
  for (const int64_t groups : {1, 3}) {
    const Real x = random_matrix(random, 4, groups * 5);
    const Real weight = random_matrix(random, 1, 5);
    const Real dy = random_matrix(random, 4, groups * 5);
    const Real rstd = rms_norm_forward(x, weight, 1e-3).rstd;
    expect_equal(rms_norm_backward(dy, x, weight, rstd),
                 complex_step(x,
                              [&](const auto& z) {
                                return dot(rms_norm_forward(z, convert<Complex>(weight), 1e-3).y,
                                           dy);
                              }),
                 "dx");
  }
}

TEST(ComplexStep, Rope) {
  test::Random random(102);
  SCOPED_TRACE(test::test_seed());
  const std::vector<int32_t> positions = {0, 1, 5, 1000};
  const std::vector<int32_t> variants = {0, 0, 1, 1};
  for (const int64_t half : {1, 2, 3}) {  // partial rotation and a whole one, of head_dim 6
    const auto tables =
        rope_tables<double>(positions, variants, random_matrix(random, 2, half), 1.25);
    const Real x = random_matrix(random, 4, 12);
    const Real dy = random_matrix(random, 4, 12);
    expect_equal(rope_backward(dy, tables.cos, tables.sin, 6),
                 complex_step(x,
                              [&](const auto& z) {
                                return dot(rope_forward(z, convert<Complex>(tables.cos),
                                                        convert<Complex>(tables.sin), 6),
                                           dy);
                              }),
                 "dx");
  }
}

TEST(ComplexStep, Attention) {
  struct Case {
    std::vector<int32_t> query_offsets, key_offsets;
    AttentionShape shape;
  };
  const Case cases[] = {
      {{0, 5}, {0, 5}, {1, 1, 4, 0.5f, 0}},              // one document
      {{0, 1, 4, 9}, {0, 1, 4, 9}, {4, 2, 3, 0.7f, 0}},  // several, grouped heads
      {{0, 6, 9}, {0, 6, 9}, {2, 1, 2, 1.0f, 3}},        // a window
      {{0, 2, 5}, {0, 6, 9}, {2, 2, 3, 0.6f, 0}},        // fewer queries than keys
      {{0, 2}, {0, 7}, {2, 1, 2, 0.6f, 2}},              // both
  };
  test::Random random(103);
  SCOPED_TRACE(test::test_seed());
  for (const Case& c : cases) {
    const Documents documents{c.query_offsets, c.key_offsets};
    const int64_t tq = c.query_offsets.back();
    const int64_t tk = c.key_offsets.back();
    const Real q = random_matrix(random, tq, c.shape.heads * c.shape.head_dim);
    const Real k = random_matrix(random, tk, c.shape.kv_heads * c.shape.head_dim);
    const Real v = random_matrix(random, tk, c.shape.kv_heads * c.shape.head_dim);
    const Real dout = random_matrix(random, tq, c.shape.heads * c.shape.head_dim);
    const auto forward = attention_forward(q, k, v, documents, c.shape);
    const auto gradient =
        attention_backward(dout, forward.out, forward.lse, q, k, v, documents, c.shape);
    const auto loss = [&](const Matrix<Complex>& zq, const Matrix<Complex>& zk,
                          const Matrix<Complex>& zv) {
      return dot(attention_forward(zq, zk, zv, documents, c.shape).out, dout);
    };
    const auto zq = convert<Complex>(q), zk = convert<Complex>(k), zv = convert<Complex>(v);
    expect_equal(gradient.dq, complex_step(q, [&](const auto& z) { return loss(z, zk, zv); }), "q");
    expect_equal(gradient.dk, complex_step(k, [&](const auto& z) { return loss(zq, z, zv); }), "k");
    expect_equal(gradient.dv, complex_step(v, [&](const auto& z) { return loss(zq, zk, z); }), "v");
  }
}

TEST(ComplexStep, GatedSilu) {
  test::Random random(104);
  SCOPED_TRACE(test::test_seed());
  const Real gate = random_matrix(random, 5, 7, 3);
  const Real up = random_matrix(random, 5, 7);
  const Real dy = random_matrix(random, 5, 7);
  const auto gradient = gated_silu_backward(dy, gate, up);
  expect_equal(gradient.dgate,
               complex_step(gate,
                            [&](const auto& z) {
                              return dot(gated_silu_forward(z, convert<Complex>(up)), dy);
                            }),
               "dgate");
  expect_equal(gradient.dup,
               complex_step(up,
                            [&](const auto& z) {
                              return dot(gated_silu_forward(convert<Complex>(gate), z), dy);
                            }),
               "dup");
}

template <typename To>
LoraLinear<To> convert_layer(const LoraLinear<double>& layer) {
  return {convert<To>(layer.w), convert<To>(layer.bias), convert<To>(layer.a),
          convert<To>(layer.b), To(layer.scaling),       convert<To>(layer.mask)};
}

LoraLinear<double> random_layer(test::Random& random, int64_t tokens, int64_t out, int64_t in,
                                int64_t rank, bool bias, double dropout) {
  LoraLinear<double> layer;
  layer.w = random_matrix(random, out, in, 0.5);
  if (bias) layer.bias = random_matrix(random, 1, out);
  layer.a = random_matrix(random, rank, in, 0.5);
  layer.b = random_matrix(random, out, rank, 0.5);
  layer.scaling = 1.5;
  if (dropout > 0) {
    layer.mask = Real(tokens, in);
    for (double& value : layer.mask.values())
      value = random.uniform() < dropout ? 0 : 1 / (1 - dropout);
  }
  return layer;
}

TEST(ComplexStep, LoraLinear) {
  test::Random random(105);
  SCOPED_TRACE(test::test_seed());
  for (const double dropout : {0.0, 0.4}) {
    for (const int64_t rank : {1, 3}) {
      const auto layer = random_layer(random, 4, 6, 5, rank, true, dropout);
      const Real x = random_matrix(random, 4, 5);
      const Real dy = random_matrix(random, 4, 6);
      const auto gradient = lora_linear_backward(dy, x, lora_linear_forward(x, layer).t, layer);
      const auto zx = convert<Complex>(x);
      expect_equal(gradient.dx,
                   complex_step(x,
                                [&](const auto& z) {
                                  return dot(
                                      lora_linear_forward(z, convert_layer<Complex>(layer)).y, dy);
                                }),
                   "dx");
      expect_equal(gradient.da,
                   complex_step(layer.a,
                                [&](const auto& z) {
                                  auto changed = convert_layer<Complex>(layer);
                                  changed.a = z;
                                  return dot(lora_linear_forward(zx, changed).y, dy);
                                }),
                   "da");
      expect_equal(gradient.db,
                   complex_step(layer.b,
                                [&](const auto& z) {
                                  auto changed = convert_layer<Complex>(layer);
                                  changed.b = z;
                                  return dot(lora_linear_forward(zx, changed).y, dy);
                                }),
                   "db");
    }
  }
}

TEST(ComplexStep, LinearCrossEntropy) {
  test::Random random(106);
  SCOPED_TRACE(test::test_seed());
  const std::vector<int32_t> labels = {3, -100, 0, 8, -100};
  const Real x = random_matrix(random, 5, 4);
  const Real head = random_matrix(random, 9, 4);
  const double gradient = 0.25;
  expect_equal(
      linear_cross_entropy(x, head, labels, gradient).dx,
      complex_step(x,
                   [&](const auto& z) {
                     return gradient *
                            linear_cross_entropy(z, convert<Complex>(head), labels, 1).loss;
                   }),
      "dx");
}

template <typename To>
Block<To> convert_block(const Block<double>& b) {
  return {convert<To>(b.attention_norm),
          convert<To>(b.mlp_norm),
          convert<To>(b.final_norm),
          convert<To>(b.q_norm),
          convert<To>(b.k_norm),
          convert_layer<To>(b.q),
          convert_layer<To>(b.k),
          convert_layer<To>(b.v),
          convert_layer<To>(b.o),
          convert_layer<To>(b.gate),
          convert_layer<To>(b.up),
          convert_layer<To>(b.down),
          convert<To>(b.head),
          convert<To>(b.cos),
          convert<To>(b.sin),
          b.epsilon};
}

// The gradients of x and of every adapter of a block, against the loss at the very end.
void check_block(bool head_norms, int64_t window, double dropout) {
  test::Random random(107);
  SCOPED_TRACE(test::test_seed());
  const int64_t tokens = 6, hidden = 6, ffn = 7, vocabulary = 9;
  const AttentionShape shape{2, 1, 4, 0.5f, window};
  const std::vector<int32_t> offsets = {0, 2, 6};
  const Documents documents{offsets, offsets};
  const std::vector<int32_t> labels = {4, -100, 1, 0, 8, -100};
  const std::vector<int32_t> positions = {0, 1, 0, 1, 2, 3};
  const std::vector<int32_t> variants(6, 0);
  const auto layer = [&](int64_t out, int64_t in, bool bias) {
    return random_layer(random, tokens, out, in, 2, bias, dropout);
  };

  Block<double> block;
  block.attention_norm = random_matrix(random, 1, hidden);
  block.mlp_norm = random_matrix(random, 1, hidden);
  block.final_norm = random_matrix(random, 1, hidden);
  if (head_norms) block.q_norm = random_matrix(random, 1, shape.head_dim);
  if (head_norms) block.k_norm = random_matrix(random, 1, shape.head_dim);
  block.q = layer(shape.heads * shape.head_dim, hidden, true);
  block.k = layer(shape.kv_heads * shape.head_dim, hidden, true);
  block.v = layer(shape.kv_heads * shape.head_dim, hidden, true);
  block.o = layer(hidden, shape.heads * shape.head_dim, false);
  block.gate = layer(ffn, hidden, false);
  block.up = layer(ffn, hidden, false);
  block.down = layer(hidden, ffn, false);
  block.head = random_matrix(random, vocabulary, hidden);
  const auto tables = rope_tables<double>(positions, variants, random_matrix(random, 1, 1), 1);
  block.cos = tables.cos;  // two of four channels are turned
  block.sin = tables.sin;

  const Real x = random_matrix(random, tokens, hidden);
  const auto state = block_forward(x, block, documents, shape, labels);
  const auto gradient = block_backward(state, block, documents, shape);
  const auto zx = convert<Complex>(x);
  const auto loss = [&](const Matrix<Complex>& input, const Block<Complex>& changed) {
    return block_forward(input, changed, documents, shape, labels).loss.loss;
  };

  expect_equal(
      gradient.dx,
      complex_step(x, [&](const auto& z) { return loss(z, convert_block<Complex>(block)); }), "dx");
  const struct {
    const char* name;
    LoraLinear<double> Block<double>::*layer;
    LoraLinear<Complex> Block<Complex>::*complex_layer;
    LoraLinearGradient<double> BlockGradient<double>::*gradient;
  } layers[] = {
      {"q", &Block<double>::q, &Block<Complex>::q, &BlockGradient<double>::q},
      {"k", &Block<double>::k, &Block<Complex>::k, &BlockGradient<double>::k},
      {"v", &Block<double>::v, &Block<Complex>::v, &BlockGradient<double>::v},
      {"o", &Block<double>::o, &Block<Complex>::o, &BlockGradient<double>::o},
      {"gate", &Block<double>::gate, &Block<Complex>::gate, &BlockGradient<double>::gate},
      {"up", &Block<double>::up, &Block<Complex>::up, &BlockGradient<double>::up},
      {"down", &Block<double>::down, &Block<Complex>::down, &BlockGradient<double>::down},
  };
  for (const auto& l : layers) {
    Block<Complex> changed = convert_block<Complex>(block);
    auto& z = changed.*l.complex_layer;
    const Real da = complex_step((block.*l.layer).a, [&](const auto& a) {
      z.a = a;
      return loss(zx, changed);
    });
    z.a = convert<Complex>((block.*l.layer).a);
    const Real db = complex_step((block.*l.layer).b, [&](const auto& b) {
      z.b = b;
      return loss(zx, changed);
    });
    expect_equal((gradient.*l.gradient).da, da, std::string(l.name) + ".a");
    expect_equal((gradient.*l.gradient).db, db, std::string(l.name) + ".b");
  }
}

TEST(ComplexStep, Block) { check_block(false, 0, 0); }
TEST(ComplexStep, BlockWithHeadNorms) { check_block(true, 0, 0); }
TEST(ComplexStep, BlockWithWindowAndDropout) { check_block(true, 2, 0.3); }

}  // namespace
}  // namespace nibble::reference
