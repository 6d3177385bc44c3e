// 8-bit AdamW: every step begins at the state that the backend left, so that one step's rounding is
// all that is allowed. A code is right if it is that of a value within the bound of the moment.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "ops/op_test.h"
#include "ops/quantized_operand.h"
#include "reference/adamw.h"

namespace nibble::test {
namespace {

class AdamW8bit : public testing::TestWithParam<std::string> {
 protected:
  Ops& ops = shared_backend(GetParam()).ops();
};

struct State {
  Values p, m_codes, v_codes, m_absmax, v_absmax;
};

State step(Ops& ops, const State& before, const Values& g, const AdamWOptions& options) {
  const auto results = run_twice(ops, [&]() -> std::vector<Values> {
    const Operand p(ops, before.p, DType::f32), gradient(ops, g, DType::f32);
    const Operand m_codes(ops, before.m_codes, DType::u8), v_codes(ops, before.v_codes, DType::u8);
    const Operand m_absmax(ops, before.m_absmax, DType::f32);
    const Operand v_absmax(ops, before.v_absmax, DType::f32);
    ops.adamw_8bit(p, gradient, {m_codes, v_codes, m_absmax, v_absmax}, options);
    return {p.read(), m_codes.read(), v_codes.read(), m_absmax.read(), v_absmax.read()};
  });
  return {results[0], results[1], results[2], results[3], results[4]};
}

template <typename T>
std::vector<T> to_vector(const Values& values) {
  std::vector<T> result;
  for (const double value : values.values()) result.push_back(static_cast<T>(value));
  return result;
}

// The code of moment / absmax; a first moment never takes the other sign.
int code_of(const DynamicMap& map, double quotient, bool keeps_sign, bool negative) {
  const int code = dynamic_encode(map, static_cast<float>(quotient));
  if (!keeps_sign || std::signbit(map[static_cast<size_t>(code)]) == negative) return code;
  return negative ? code - 1 : code + 1;
}

void check_moments(const Bounded& moments, const Values& codes, const Values& absmax,
                   const DynamicMap& map, bool keeps_sign, const char* what) {
  for (int64_t block = 0; block < absmax.cols(); ++block) {
    const int64_t end = std::min(moments.cols(), (block + 1) * 256);
    double largest = 0, error = 0;
    for (int64_t i = block * 256; i < end; ++i) {
      largest = std::max(largest, std::fabs(moments(0, i).value()));
      error = std::max(error, 2 * moments(0, i).error());
    }
    const double scale = absmax(0, block);
    ASSERT_NEAR(scale, largest, error + 0x1p-23 * largest + tiny) << what << " block " << block;
    if (scale == 0) continue;
    for (int64_t i = block * 256; i < end; ++i) {
      const double value = moments(0, i).value();
      const auto code = static_cast<int>(codes(0, i));
      if (value == 0) {
        ASSERT_EQ(map[static_cast<size_t>(code)], 0.0f) << what << " " << i;
        continue;
      }
      const double slack = 2 * moments(0, i).error() / scale + 0x1p-22 * std::fabs(value) / scale;
      ASSERT_GE(code, code_of(map, value / scale - slack, keeps_sign, value < 0)) << what << i;
      ASSERT_LE(code, code_of(map, value / scale + slack, keeps_sign, value < 0)) << what << i;
    }
  }
}

TEST_P(AdamW8bit, IsTheFormula) {
  uint64_t stream = 850;
  for (const int64_t n : {1, 100, 256, 257, 5000}) {
    SCOPED_TRACE(fmt::format("seed {} n {}", test_seed(), n));
    Random random(++stream);
    const int64_t blocks = (n + 255) / 256;
    State state{random_values(random, 1, n, DType::f32), Values(1, n), Values(1, n),
                Values(1, blocks), Values(1, blocks)};
    AdamWOptions options;
    options.learning_rate = 1e-2;
    options.weight_decay = 0.1;
    options.gradient_scale = 0.7f;
    for (options.step = 1; options.step <= 6; ++options.step) {
      Values g = random_values(random, 1, n, DType::f32);
      for (double& value : g.values()) value *= std::pow(10.0, -4 * random.uniform());
      g = rounded(g, DType::f32);
      if (n > 4) g(0, 4) = 0;
      const auto precision = float_precision();
      const auto expected = reference::adamw_8bit<RunningError>(
          exact(state.p), exact(g), to_vector<uint8_t>(state.m_codes),
          to_vector<uint8_t>(state.v_codes), to_vector<float>(state.m_absmax),
          to_vector<float>(state.v_absmax), options);
      state = step(ops, state, g, options);
      expect_within(state.p, expected.p, DType::f32, "p");
      check_moments(expected.m, state.m_codes, state.m_absmax, dynamic_map_signed(), true, "m");
      check_moments(expected.v, state.v_codes, state.v_absmax, dynamic_map_unsigned(), false, "v");
    }
  }
}

TEST_P(AdamW8bit, SkipsGradientsThatAreNotFinite) {
  const int64_t n = 300;
  Random random(870);
  State state{random_values(random, 1, n, DType::f32), Values(1, n), Values(1, n), Values(1, 2),
              Values(1, 2)};
  AdamWOptions options;
  options.learning_rate = 1e-2;
  Values g = random_values(random, 1, n, DType::f32);
  state = step(ops, state, g, options);
  g(0, 7) = std::numeric_limits<double>::infinity();
  g(0, 299) = std::numeric_limits<double>::quiet_NaN();
  options.step = 2;
  // g is read back as NaN, so only the state is compared.
  const State after = step(ops, state, g, options);
  for (const int64_t i : {int64_t{7}, int64_t{299}}) {
    EXPECT_EQ(after.p(0, i), state.p(0, i));
    EXPECT_EQ(dynamic_map_signed()[static_cast<size_t>(after.m_codes(0, i))], 0.0f);
    EXPECT_EQ(dynamic_map_unsigned()[static_cast<size_t>(after.v_codes(0, i))], 0.0f);
  }
  for (int64_t i = 0; i < n; ++i) EXPECT_TRUE(std::isfinite(after.p(0, i)));
  EXPECT_NE(after.p(0, 8), state.p(0, 8));
}

TEST_P(AdamW8bit, FollowsTheFloatOptimizer) {
  // On a quadratic both come to the minimum.
  const int64_t n = 512;
  Random random(880);
  const Values target = random_values(random, 1, n, DType::f32);
  State state{Values(1, n), Values(1, n), Values(1, n), Values(1, 2), Values(1, 2)};
  AdamWOptions options;
  options.learning_rate = 0.02;
  for (options.step = 1; options.step <= 300; ++options.step) {
    Values g(1, n);
    for (int64_t i = 0; i < n; ++i) g(0, i) = state.p(0, i) - target(0, i);
    state = step(ops, state, rounded(g, DType::f32), options);
  }
  double distance = 0, length = 0;
  for (int64_t i = 0; i < n; ++i) {
    distance += std::pow(state.p(0, i) - target(0, i), 2);
    length += std::pow(target(0, i), 2);
  }
  EXPECT_LT(std::sqrt(distance / length), 0.05);
}

INSTANTIATE_TEST_SUITE_P(Backends, AdamW8bit, testing::ValuesIn(backend_names()),
                         [](const auto& p) { return p.param; });

}  // namespace
}  // namespace nibble::test
