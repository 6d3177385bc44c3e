// What the tests of attention share: cases, their operands, and gradients against the reference.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ops/op_test.h"
#include "reference/attention.h"

namespace nibble::test {

struct AttentionCase {
  int64_t heads, kv_heads, head_dim, window;
  std::vector<int64_t> queries;     // of each document
  std::vector<int64_t> extra_keys;  // of each document, before its queries; or none
};

struct AttentionProblem {
  AttentionProblem(const AttentionCase& p, DType c, uint64_t stream) {
    for (size_t d = 0; d < p.queries.size(); ++d) {
      const int64_t keys = p.queries[d] + (p.extra_keys.empty() ? 0 : p.extra_keys[d]);
      query_offsets.push_back(query_offsets.back() + static_cast<int32_t>(p.queries[d]));
      key_offsets.push_back(key_offsets.back() + static_cast<int32_t>(keys));
    }
    documents = {query_offsets, key_offsets};
    shape = {p.heads, p.kv_heads, p.head_dim, 1.0f / std::sqrt(static_cast<float>(p.head_dim)),
             p.window};
    Random random(stream);
    const int64_t tq = query_offsets.back(), tk = key_offsets.back();
    q = random_values(random, tq, p.heads * p.head_dim, c, 2);
    k = random_values(random, tk, p.kv_heads * p.head_dim, c, 2);
    v = random_values(random, tk, p.kv_heads * p.head_dim, c);
    dout = random_values(random, tq, p.heads * p.head_dim, c);
    trace = fmt::format("seed {} stream {} heads {} kv_heads {} head_dim {} window {} tokens {}/{}",
                        test_seed(), stream, p.heads, p.kv_heads, p.head_dim, p.window, tq, tk);
  }
  AttentionProblem(const AttentionProblem&) = delete;
  AttentionProblem& operator=(const AttentionProblem&) = delete;

  std::vector<int32_t> query_offsets{0}, key_offsets{0};
  Documents documents;
  AttentionShape shape;
  Values q, k, v, dout;
  std::string trace;
};

// results: dq, dk, dv. Scores are float32 sums of products that are exact for bfloat16; p and ds,
// the factors of the gradients' terms, may be rounded to the compute dtype, and results are: two
// roundings, and more where sums of some terms are.
inline void expect_gradients(const std::vector<Values>& results, const AttentionProblem& a,
                             const Values& out, const Values& lse, DType c, int roundings = 2) {
  const auto precision = float_precision();
  const auto expected =
      reference::attention_backward(exact(a.dout), exact(out), exact(lse), exact(a.q), exact(a.k),
                                    exact(a.v), a.documents, a.shape);
  // Each of a sum's factors may be off by subnormal_roundoff times its term's other factor.
  const auto below = [&](int64_t terms, const Values& other) {
    double largest = 0;
    for (const double value : other.values()) largest = std::max(largest, std::fabs(value));
    return static_cast<double>(terms) * subnormal_roundoff(c) * largest;
  };
  const int64_t group = a.shape.heads / a.shape.kv_heads;
  expect_within(results[0], expected.dq, c, "dq", {roundings, below(a.k.rows(), a.k)});
  expect_within(results[1], expected.dk, c, "dk", {roundings, below(group * a.q.rows(), a.q)});
  expect_within(results[2], expected.dv, c, "dv", {roundings, below(group * a.q.rows(), a.dout)});
}

}  // namespace nibble::test
