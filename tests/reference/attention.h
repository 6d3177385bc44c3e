// Causal softmax attention within documents, with grouped heads and an optional window.
#pragma once

#include <algorithm>
#include <limits>

#include "ops/ops.h"
#include "reference/matrix.h"

namespace nibble::reference {

template <typename T>
struct Attention {
  Matrix<T> out;
  Matrix<T> lse;  // [Tq, heads], log sum_j exp(scale * q k_j)
};

template <typename T>
struct AttentionGradient {
  Matrix<T> dq, dk, dv;
};

// Calls visit(query, first_key, last_key) for every query row, with the rows of the keys it sees:
// those of its document up to itself, at most `window` of them. A document's queries are its last
// tokens.
template <typename Visit>
void for_each_query(const Documents& documents, int64_t window, Visit visit) {
  for (size_t d = 0; d + 1 < documents.query_offsets.size(); ++d) {
    const int64_t query_end = documents.query_offsets[d + 1];
    const int64_t key_begin = documents.key_offsets[d];
    const int64_t key_end = documents.key_offsets[d + 1];
    for (int64_t query = documents.query_offsets[d]; query < query_end; ++query) {
      const int64_t last = key_end - (query_end - query);
      const int64_t first = window > 0 ? std::max(key_begin, last - window + 1) : key_begin;
      visit(query, first, last);
    }
  }
}

template <typename T>
T score(const Matrix<T>& q, const Matrix<T>& k, int64_t query, int64_t key, int64_t head,
        int64_t kv_head, const AttentionShape& shape) {
  T sum = T(0);
  for (int64_t c = 0; c < shape.head_dim; ++c)
    sum += q(query, head * shape.head_dim + c) * k(key, kv_head * shape.head_dim + c);
  return T(static_cast<double>(shape.scale)) * sum;
}

// out_i = sum_j p_ij v_j,  p_ij = exp(s_ij - max_i) / sum_j exp(s_ij - max_i),  s = scale * q k^T
template <typename T>
Attention<T> attention_forward(const Matrix<T>& q, const Matrix<T>& k, const Matrix<T>& v,
                               const Documents& documents, const AttentionShape& shape) {
  using std::exp, std::log;
  Attention<T> result{Matrix<T>(q.rows(), q.cols()), Matrix<T>(q.rows(), shape.heads)};
  for_each_query(documents, shape.window, [&](int64_t i, int64_t first, int64_t last) {
    for (int64_t head = 0; head < shape.heads; ++head) {
      const int64_t kv_head = head / (shape.heads / shape.kv_heads);
      std::vector<T> weights;
      double max = -std::numeric_limits<double>::infinity();
      for (int64_t j = first; j <= last; ++j) {
        weights.push_back(score(q, k, i, j, head, kv_head, shape));
        max = std::max(max, real_part(weights.back()));
      }
      T sum = T(0);
      for (T& weight : weights) {
        weight = exp(weight - T(max));
        sum += weight;
      }
      for (int64_t j = first; j <= last; ++j) {
        const T p = weights[static_cast<size_t>(j - first)] / sum;
        for (int64_t c = 0; c < shape.head_dim; ++c)
          result.out(i, head * shape.head_dim + c) += p * v(j, kv_head * shape.head_dim + c);
      }
      result.lse(i, head) = T(max) + log(sum);
    }
  });
  return result;
}

// With p_ij = exp(s_ij - lse_i), delta_i = dout_i . out_i and ds_ij = p_ij (dout_i . v_j -
// delta_i):
//   dv_j = sum_i p_ij dout_i,  dq_i = scale sum_j ds_ij k_j,  dk_j = scale sum_i ds_ij q_i
template <typename T>
AttentionGradient<T> attention_backward(const Matrix<T>& dout, const Matrix<T>& out,
                                        const Matrix<T>& lse, const Matrix<T>& q,
                                        const Matrix<T>& k, const Matrix<T>& v,
                                        const Documents& documents, const AttentionShape& shape) {
  using std::exp;
  AttentionGradient<T> gradient{Matrix<T>(q.rows(), q.cols()), Matrix<T>(k.rows(), k.cols()),
                                Matrix<T>(v.rows(), v.cols())};
  const T scale = T(static_cast<double>(shape.scale));
  for_each_query(documents, shape.window, [&](int64_t i, int64_t first, int64_t last) {
    for (int64_t head = 0; head < shape.heads; ++head) {
      const int64_t kv_head = head / (shape.heads / shape.kv_heads);
      const int64_t qc = head * shape.head_dim;     // first column of the head in q, dout, out
      const int64_t kc = kv_head * shape.head_dim;  // and in k, v
      T delta = T(0);
      for (int64_t c = 0; c < shape.head_dim; ++c) delta += dout(i, qc + c) * out(i, qc + c);
      for (int64_t j = first; j <= last; ++j) {
        const T p = exp(score(q, k, i, j, head, kv_head, shape) - lse(i, head));
        T dp = T(0);
        for (int64_t c = 0; c < shape.head_dim; ++c) dp += dout(i, qc + c) * v(j, kc + c);
        const T ds = p * (dp - delta) * scale;
        for (int64_t c = 0; c < shape.head_dim; ++c) {
          gradient.dq(i, qc + c) += ds * k(j, kc + c);
          gradient.dk(j, kc + c) += ds * q(i, qc + c);
          gradient.dv(j, kc + c) += p * dout(i, qc + c);
        }
      }
    }
  });
  return gradient;
}

}  // namespace nibble::reference
