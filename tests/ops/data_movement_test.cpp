// zero, copy, scatter_rows, convert, upload and download, embedding.
#include <gtest/gtest.h>

#include <numeric>

#include "ops/op_test.h"

namespace nibble::test {
namespace {

class DataMovement : public testing::TestWithParam<std::string> {
 protected:
  Ops& ops = shared_backend(GetParam()).ops();
};

const std::pair<int64_t, int64_t> shapes[] = {{1, 1}, {1, 100}, {7, 33}, {130, 257}, {1000, 3}};

TEST_P(DataMovement, Zero) {
  for (const auto& [rows, cols] : shapes) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::u8, DType::i32}) {
      for (const Layout layout : {Layout::dense, Layout::strided}) {
        const auto results = run_twice(ops, [&, rows = rows, cols = cols]() -> std::vector<Values> {
          const Operand y(ops, rows, cols, dtype, layout);
          ops.zero(y);
          return {y.read()};
        });
        expect_equal(results[0], Values(rows, cols), "y");
      }
    }
  }
}

TEST_P(DataMovement, Copy) {
  Random random(1000);
  for (const auto& [rows, cols] : shapes) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const Layout from : {Layout::dense, Layout::strided}) {
        for (const Layout to : {Layout::dense, Layout::strided}) {
          const Values x = random_values(random, rows, cols, dtype);
          const auto results = run_twice(ops, [&]() -> std::vector<Values> {
            const Operand y(ops, x.rows(), x.cols(), dtype, to);
            ops.copy(y, Operand(ops, x, dtype, from));
            return {y.read()};
          });
          expect_equal(results[0], x, "y");
        }
      }
    }
  }
}

// Rows that are not named keep what they held.
TEST_P(DataMovement, ScatterRows) {
  Random random(1005);
  for (const auto& [rows, cols] : shapes) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      for (const Layout layout : {Layout::dense, Layout::strided}) {
        const int64_t all = rows + 5;
        std::vector<int64_t> order(static_cast<size_t>(all));
        std::iota(order.begin(), order.end(), 0);
        for (int64_t i = all - 1; i > 0; --i)
          std::swap(order[static_cast<size_t>(i)],
                    order[static_cast<size_t>(random.integer(0, i))]);
        const Values x = random_values(random, rows, cols, dtype);
        const Values before = random_values(random, all, cols, dtype);
        Values expected = before, places(1, rows);
        for (int64_t i = 0; i < rows; ++i) {
          const int64_t place = order[static_cast<size_t>(i)];
          places(0, i) = static_cast<double>(place);
          for (int64_t j = 0; j < cols; ++j) expected(place, j) = x(i, j);
        }
        const auto results = run_twice(ops, [&]() -> std::vector<Values> {
          const Operand y(ops, before, dtype, layout);
          ops.scatter_rows(y, Operand(ops, x, dtype, layout), Operand(ops, places, DType::i32));
          return {y.read()};
        });
        expect_equal(results[0], expected, "y");
      }
    }
  }
}

TEST_P(DataMovement, Convert) {
  Random random(1010);
  const DType types[] = {DType::f32, DType::bf16, DType::f16};
  for (const auto& [rows, cols] : shapes) {
    for (const DType from : types) {
      for (const DType to : types) {
        Values x = random_values(random, rows, cols, DType::f32);
        for (double& value : x.values()) value *= std::pow(2.0, 40 * random.uniform() - 25);
        x = rounded(x, from);
        const auto results = run_twice(ops, [&]() -> std::vector<Values> {
          const Operand y(ops, x.rows(), x.cols(), to);
          ops.convert(y, Operand(ops, x, from));
          return {y.read()};
        });
        expect_equal(results[0], rounded(x, to), "y");
      }
    }
  }
}

// Every bfloat16 and float16 number, the midpoints between neighbours, and the edges of float.
TEST_P(DataMovement, ConvertRoundsLikeTheScalarConversions) {
  std::vector<double> values;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto pattern = static_cast<uint16_t>(bits);
    for (const float x : {to_float(bf16{pattern}), to_float(f16{pattern})}) {
      if (!std::isfinite(x)) continue;
      values.push_back(static_cast<double>(x));
      values.push_back(static_cast<double>(std::nextafter(x, HUGE_VALF)));
    }
    const float low = to_float(f16{pattern});
    const float high = to_float(f16{static_cast<uint16_t>(pattern + 1)});
    if (std::isfinite(low) && std::isfinite(high))
      values.push_back(static_cast<double>((low + high) / 2));
    const float midpoint = std::bit_cast<float>(bits << 16 | 0x8000u);  // between two bfloat16
    if (std::isfinite(midpoint)) values.push_back(static_cast<double>(midpoint));
  }
  Values x(1, static_cast<int64_t>(values.size()));
  x.values() = values;
  for (const DType to : {DType::bf16, DType::f16}) {
    const auto results = run_twice(ops, [&]() -> std::vector<Values> {
      const Operand y(ops, 1, x.cols(), to);
      ops.convert(y, Operand(ops, x, DType::f32));
      return {y.read()};
    });
    expect_equal(results[0], rounded(x, to), "y");
  }
}

TEST_P(DataMovement, EmptyTensorsAreNothingToDo) {
  const Arena::Scope scope(ops.arena());
  const Operand a(ops, 0, 5, DType::f32), b(ops, 0, 5, DType::f32);
  ops.copy(a, b);
  ops.zero(a);
  a.read();
}

TEST_P(DataMovement, Embedding) {
  Random random(1020);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const auto& [tokens, features, vocabulary] :
         {std::array<int64_t, 3>{1, 1, 1}, {5, 33, 7}, {200, 64, 1000}}) {
      const Values table = random_values(random, vocabulary, features, dtype);
      Values ids(1, tokens), expected(tokens, features);
      for (int64_t t = 0; t < tokens; ++t) {
        const int64_t id = t == 0 ? vocabulary - 1 : random.integer(0, vocabulary - 1);
        ids(0, t) = static_cast<double>(id);
        for (int64_t j = 0; j < features; ++j) expected(t, j) = table(id, j);
      }
      const auto results =
          run_twice(ops, [&, rows = tokens, cols = features]() -> std::vector<Values> {
            const Operand y(ops, rows, cols, dtype);
            ops.embedding(y, Operand(ops, table, dtype), Operand(ops, ids, DType::i32));
            return {y.read()};
          });
      expect_equal(results[0], expected, "y");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, DataMovement, testing::ValuesIn(backend_names()),
                         [](const auto& p) { return p.param; });

}  // namespace
}  // namespace nibble::test
