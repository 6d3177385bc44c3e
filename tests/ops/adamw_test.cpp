#include "reference/adamw.h"

#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "ops/op_test.h"
#include "support/data.h"

namespace nibble::test {
namespace {

// Optimizers know no compute dtype: everything is float32.
class AdamW : public testing::TestWithParam<std::string> {
 protected:
  Ops& ops = shared_backend(GetParam()).ops();
};

struct State {
  Values p, m, v;
};

State step(Ops& ops, const State& before, const Values& g, const AdamWOptions& options) {
  const auto results = run_twice(ops, [&]() -> std::vector<Values> {
    const Operand p(ops, before.p, DType::f32), gradient(ops, g, DType::f32);
    const Operand m(ops, before.m, DType::f32), v(ops, before.v, DType::f32);
    ops.adamw(p, gradient, m, v, options);
    return {p.read(), m.read(), v.read(), gradient.read()};
  });
  expect_equal(results[3], g, "g, which is not changed");
  return {results[0], results[1], results[2]};
}

TEST_P(AdamW, IsTheFormula) {
  uint64_t stream = 800;
  for (const int64_t n : {1, 7, 64, 1000, 10001}) {
    for (const bool plain : {true, false}) {
      SCOPED_TRACE(fmt::format("seed {} n {}", test_seed(), n));
      Random random(++stream);
      State state{random_values(random, 1, n, DType::f32), Values(1, n), Values(1, n)};
      AdamWOptions options;
      options.learning_rate = 1e-3;
      if (!plain) {
        options.beta1 = 0.8;
        options.beta2 = 0.95;
        options.epsilon = 1e-6;
        options.weight_decay = 0.1;
        options.gradient_scale = 0.31f;
      }
      for (options.step = 1; options.step <= 5; ++options.step) {
        Values g =
            random_values(random, 1, n, DType::f32, std::pow(10.0, 4 * random.uniform() - 3));
        if (n > 3) g(0, 3) = 0;
        const auto precision = float_precision();
        const auto expected = reference::adamw<RunningError>(
            {exact(state.p), exact(state.m), exact(state.v)}, exact(g), options);
        state = step(ops, state, g, options);
        expect_within(state.p, expected.p, DType::f32, "p");
        expect_within(state.m, expected.m, DType::f32, "m");
        expect_within(state.v, expected.v, DType::f32, "v");
      }
    }
  }
}

Values json_values(const nlohmann::json& list) {
  Values values(1, static_cast<int64_t>(list.size()));
  for (size_t i = 0; i < list.size(); ++i) values.values()[i] = list[i].get<double>();
  return values;
}

// Each step begins at torch's state, so that what is allowed is the rounding of one step, twice:
// both are within the bound of the exact result.
TEST_P(AdamW, IsTorchs) {
  const auto golden = nlohmann::json::parse(std::ifstream(test::golden("ops/adamw.json")));
  for (const char* name : {"binary", "usual"}) {
    SCOPED_TRACE(name);
    const auto& data = golden[name];
    AdamWOptions options;
    options.learning_rate = data["lr"].get<double>();
    options.beta1 = data["betas"][0].get<double>();
    options.beta2 = data["betas"][1].get<double>();
    options.epsilon = data["eps"].get<double>();
    options.weight_decay = data["weight_decay"].get<double>();
    const Values p = json_values(data["p"]);
    State state{p, Values(1, p.cols()), Values(1, p.cols())};
    options.step = 1;
    for (const auto& recorded : data["steps"]) {
      const Values g = json_values(recorded["g"]);
      const auto precision = float_precision();
      const auto bounds = reference::adamw<RunningError>(
          {exact(state.p), exact(state.m), exact(state.v)}, exact(g), options);
      const State got = step(ops, state, g, options);
      state = {json_values(recorded["p"]), json_values(recorded["m"]), json_values(recorded["v"])};
      const auto compare = [&](const Values& ours, const Values& torchs, const Bounded& bound,
                               const char* what) {
        for (int64_t i = 0; i < ours.cols(); ++i) {
          const double rounding = 0x1p-24 * std::fabs(bound(0, i).value());
          ASSERT_NEAR(ours(0, i), torchs(0, i), 2 * (2 * bound(0, i).error() + rounding) + tiny)
              << what << " " << i << " step " << options.step;
        }
      };
      compare(got.m, state.m, bounds.m, "m");
      compare(got.v, state.v, bounds.v, "v");
      compare(got.p, state.p, bounds.p, "p");
      ++options.step;
    }
  }
}

TEST_P(AdamW, SumOfSquaresIsAccumulatedInDouble) {
  uint64_t stream = 830;
  for (const int64_t n : {1, 15, 16, 17, 1000, 65536, 65537, 300001}) {
    SCOPED_TRACE(fmt::format("seed {} n {}", test_seed(), n));
    Random random(++stream);
    const Values x = random_values(random, 1, n, DType::f32, 100);
    double expected = 0;
    for (const double value : x.values()) expected += value * value;
    const auto results = run_twice(ops, [&]() -> std::vector<Values> {
      const Operand y(ops, 1, 1, DType::f32);
      ops.sum_of_squares(y, Operand(ops, x, DType::f32));
      return {y.read()};
    });
    // n - 1 roundings in double on either side, and one to float.
    const double bound = 2 * static_cast<double>(n) * 0x1p-53 + 0x1p-24;
    EXPECT_NEAR(results[0](0, 0), expected, bound * expected);
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, AdamW, testing::ValuesIn(backend_names()),
                         [](const auto& p) { return p.param; });

}  // namespace
}  // namespace nibble::test
