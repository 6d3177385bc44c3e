// What the case tables share: parameters, random operands, and the comparison with bounds.
//
// A case is computed twice, from the same inputs in fresh memory: results must have equal bits.
// Inputs are rounded to their dtype first, so that the reference sees the very numbers that the
// backend sees. The reference is evaluated with RunningError numbers, which give the bound; how
// precisely a backend must compute is said by `precision`.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "ops/backend.h"
#include "reference/running_error.h"
#include "support/random.h"

namespace nibble::test {

using reference::RunningError;
using Bounded = reference::Matrix<RunningError>;

// Half the distance from 1 to the next number, relative.
inline double unit_roundoff(DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return 0x1p-8;
    case DType::f16:
      return 0x1p-11;
    default:
      return 0x1p-24;
  }
}

// Elementwise operations and reductions are computed in float32 throughout.
inline RunningError::Precision float_precision() { return {0x1p-24, 0x1p-24}; }
// Products: either factor may have been rounded to the compute dtype (a parameter, a dropped-out
// input, an intermediate result); sums are accumulated in float32.
inline RunningError::Precision product_precision(DType compute) {
  return {2 * unit_roundoff(compute), 0x1p-24};
}

inline Values rounded(Values values, DType dtype) {
  for (double& value : values.values()) {
    std::byte bytes[4];
    write_element(bytes, value, dtype);
    value = element_value(bytes, dtype);
  }
  return values;
}

inline Values random_values(Random& random, int64_t rows, int64_t cols, DType dtype,
                            double scale = 1) {
  Values values(rows, cols);
  for (double& value : values.values()) value = scale * random.normal();
  return rounded(std::move(values), dtype);
}

inline Bounded exact(const Values& values) { return reference::convert<RunningError>(values); }

// How often a term of an output may be rounded to the output's dtype: once, when the result is
// stored; or also before, as a factor of the term or in a partial sum that is stored on the way.
struct Roundings {
  int count = 1;
  double absolute = 0;  // what factors lose that are rounded below the dtype's normal numbers
};

// Functions may flush what is near the smallest float to zero.
inline constexpr double tiny = 0x1p-100;

// Half the distance between the smallest numbers of a dtype: what a rounding costs there. Of the
// others' tiny is more than enough.
inline double subnormal_roundoff(DType dtype) { return dtype == DType::f16 ? 0x1p-25 : tiny; }

// |got - expected| <= 2 * bound + roundings of |result|, or of the sum of its terms' magnitudes
// when these are rounded themselves.
inline void expect_within(const Values& got, const Bounded& expected, DType stored,
                          const std::string& what, Roundings roundings = {}) {
  ASSERT_EQ(got.rows(), expected.rows()) << what;
  ASSERT_EQ(got.cols(), expected.cols()) << what;
  const double unit = unit_roundoff(stored);
  double worst = 0;
  for (int64_t i = 0; i < got.rows(); ++i) {
    for (int64_t j = 0; j < got.cols(); ++j) {
      const RunningError& e = expected(i, j);
      const double size =
          roundings.count == 1 ? std::fabs(e.value()) : roundings.count * e.magnitude();
      const double bound = 2 * e.error() + 1.01 * unit * size + subnormal_roundoff(stored) +
                           roundings.absolute + tiny;
      const double error = std::fabs(got(i, j) - e.value());
      ASSERT_LE(error, bound) << what << "(" << i << ", " << j << "): got " << got(i, j)
                              << ", expected " << e.value();
      worst = std::max(worst, error / bound);
    }
  }
  testing::Test::RecordProperty(what + ".error_of_bound", std::to_string(worst));
}

inline void expect_equal(const Values& got, const Values& expected, const std::string& what) {
  ASSERT_EQ(got.values().size(), expected.values().size()) << what;
  for (size_t i = 0; i < got.values().size(); ++i)
    ASSERT_EQ(got.values()[i], expected.values()[i]) << what << " " << i;
}

// Fills the memory that comes next with NaN, so that reading scratch nobody has written shows.
inline void poison_free_memory(Ops& ops) {
  constexpr int64_t bytes = int64_t{8} << 20;  // as much as small cases take, but for workspaces
  static const std::vector<std::byte> nan(static_cast<size_t>(bytes), std::byte{0xFF});
  const Arena::Scope scope(ops.arena());
  ops.upload(ops.arena().tensor(1, bytes, DType::u8, MemoryUse::working_set, "poison"), nan);
}

// run() makes its operands, calls the operation and returns what it reads back; twice, the second
// time in poisoned memory.
template <typename Run>
std::vector<Values> run_twice(Ops& ops, Run run) {
  std::vector<Values> results[2];
  for (auto& result : results) {
    if (&result == &results[1] && !under_initcheck()) poison_free_memory(ops);
    const Arena::Scope scope(ops.arena());
    result = run();
  }
  EXPECT_EQ(results[0].size(), results[1].size());
  for (size_t i = 0; i < results[0].size(); ++i)
    expect_equal(results[1][i], results[0][i], "second run, result " + std::to_string(i));
  return results[0];
}

// Tests of a backend in a compute dtype. Random numbers depend on the case's name alone.
struct OpParameter {
  std::string backend;
  DType compute;
};

class OpTest : public testing::TestWithParam<OpParameter> {
 protected:
  OpTest()
      : backend(shared_backend(GetParam().backend)), ops(backend.ops()), c(GetParam().compute) {}
  void SetUp() override {
    if (!backend.computes(c))
      GTEST_SKIP() << GetParam().backend << " does not compute in " << name_of(c)
                   << " on this machine";
  }

  Backend& backend;
  Ops& ops;
  const DType c;
};

inline void PrintTo(const OpParameter& p, std::ostream* out) {
  *out << p.backend << " " << name_of(p.compute);
}

inline std::vector<OpParameter> op_parameters() {
  std::vector<OpParameter> parameters;
  for (const std::string& backend : backend_names()) {
    for (const DType compute : {DType::f32, DType::bf16}) parameters.push_back({backend, compute});
    if (backend != "cpu") parameters.push_back({backend, DType::f16});
  }
  return parameters;
}

inline std::string op_parameter_name(const testing::TestParamInfo<OpParameter>& p) {
  return p.param.backend + "_" + std::string(name_of(p.param.compute));
}

#define NIBBLE_OP_TESTS(suite)                                                        \
  INSTANTIATE_TEST_SUITE_P(Backends, suite, testing::ValuesIn(test::op_parameters()), \
                           test::op_parameter_name)

}  // namespace nibble::test
