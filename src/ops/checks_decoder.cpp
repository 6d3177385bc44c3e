// Public faces of the decoder's operations but the linear layers.
#include "ops/checks.h"

namespace nibble {
namespace {

void check_attention(const OperandCheck& check, Tensor q, Tensor k, Tensor v, Tensor lse,
                     const Documents& documents, const AttentionShape& shape) {
  check.require(shape.heads > 0 && shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0,
                "kv_heads does not divide heads");
  check.require(shape.head_dim > 0 && shape.window >= 0, "head_dim or window out of range");
  check.compute("q", q);
  check.shape("q", q, q.rows, shape.heads * shape.head_dim);
  check.shape("k", k, k.rows, shape.kv_heads * shape.head_dim);
  check.shape("v", v, k.rows, shape.kv_heads * shape.head_dim);
  check.dtype("k", k, q.dtype);
  check.dtype("v", v, q.dtype);
  check.matrix("lse", lse, q.rows, shape.heads, DType::f32);
  const auto& qo = documents.query_offsets;
  const auto& ko = documents.key_offsets;
  check.require(qo.size() >= 2 && qo.size() == ko.size(), "documents have no or unequal offsets");
  check.require(qo.front() == 0 && ko.front() == 0 && qo.back() == q.rows && ko.back() == k.rows,
                "document offsets do not cover q and k");
  for (size_t i = 1; i < qo.size(); ++i)
    check.require(qo[i] >= qo[i - 1] && ko[i] - ko[i - 1] >= qo[i] - qo[i - 1],
                  "a document has fewer keys than queries");
  check.matrix("offsets", documents.offsets, 2, documents.count() + 1, DType::i32);
}

void check_rope(const OperandCheck& check, Tensor x, Tensor cos, Tensor sin, int64_t head_dim) {
  check.compute("x", x);
  check.require(head_dim > 0 && x.cols % head_dim == 0, "head_dim does not divide the columns");
  check.require(2 * cos.cols <= head_dim, "rotary_dim exceeds head_dim");
  check.matrix("cos", cos, x.rows, cos.cols, DType::f32);
  check.matrix("sin", sin, x.rows, cos.cols, DType::f32);
}

}  // namespace

void Ops::embedding(Tensor y, Tensor table, Tensor ids) {
  const OperandCheck check{"embedding"};
  const Span timed = span("embedding");
  check.matrix("y", y, ids.cols, table.cols, table.dtype);
  check.matrix("ids", ids, 1, y.rows, DType::i32);
  check.dense("table", table);
  do_embedding(y, table, ids);
}

void Ops::rope_tables(Tensor cos, Tensor sin, Tensor positions, Tensor variants,
                      Tensor inverse_frequencies, float factor) {
  const OperandCheck check{"rope_tables"};
  const Span timed = span("rope_tables");
  const int64_t half = inverse_frequencies.cols;
  check.matrix("positions", positions, 1, cos.rows, DType::i32);
  check.matrix("variants", variants, 1, cos.rows, DType::i32);
  check.matrix("cos", cos, cos.rows, half, DType::f32);
  check.matrix("sin", sin, cos.rows, half, DType::f32);
  check.dtype("inverse_frequencies", inverse_frequencies, DType::f32);
  do_rope_tables(cos, sin, positions, variants, inverse_frequencies, factor);
}

void Ops::rope_forward(Tensor x, Tensor cos, Tensor sin, int64_t head_dim) {
  const Span timed = span("rope_forward");
  check_rope({"rope_forward"}, x, cos, sin, head_dim);
  do_rope(x, cos, sin, head_dim, false);
}

void Ops::rope_backward(Tensor dx, Tensor cos, Tensor sin, int64_t head_dim) {
  const Span timed = span("rope_backward");
  check_rope({"rope_backward"}, dx, cos, sin, head_dim);
  do_rope(dx, cos, sin, head_dim, true);
}

void Ops::rms_norm_forward(Tensor y, Tensor rstd, Tensor x, Tensor weight, float epsilon) {
  const OperandCheck check{"rms_norm_forward"};
  const Span timed = span("rms_norm_forward");
  check.compute("x", x);
  check.shape("y", y, x.rows, x.cols);
  check.dtype("y", y, x.dtype);
  check.matrix("weight", weight, 1, weight.cols, DType::f32);
  check.require(weight.cols > 0 && x.cols % weight.cols == 0, "weight does not divide the columns");
  check.matrix("rstd", rstd, x.rows, x.cols / weight.cols, DType::f32);
  check.same_or_apart("y", y, "x", x);
  do_rms_norm_forward(y, rstd, x, weight, epsilon);
}

void Ops::rms_norm_backward(Tensor dx, bool accumulate, Tensor dy, Tensor x, Tensor weight,
                            Tensor rstd) {
  const OperandCheck check{"rms_norm_backward"};
  const Span timed = span("rms_norm_backward");
  check.compute("x", x);
  for (const Tensor& y : {dx, dy}) {
    check.shape("dx or dy", y, x.rows, x.cols);
    check.dtype("dx or dy", y, x.dtype);
  }
  check.matrix("weight", weight, 1, weight.cols, DType::f32);
  check.require(weight.cols > 0 && x.cols % weight.cols == 0, "weight does not divide the columns");
  check.matrix("rstd", rstd, x.rows, x.cols / weight.cols, DType::f32);
  check.apart("dx", dx, "x", x);
  if (accumulate) check.apart("dx", dx, "dy", dy);
  if (!accumulate) check.same_or_apart("dx", dx, "dy", dy);
  do_rms_norm_backward(dx, accumulate, dy, x, weight, rstd);
}

void Ops::attention_forward(Tensor out, Tensor lse, Tensor q, Tensor k, Tensor v,
                            const Documents& documents, const AttentionShape& shape) {
  const OperandCheck check{"attention_forward"};
  const Span timed = span("attention_forward");
  check_attention(check, q, k, v, lse, documents, shape);
  check.shape("out", out, q.rows, q.cols);
  check.dtype("out", out, q.dtype);
  for (const Tensor& x : {q, k, v}) check.apart("out", out, "an input", x);
  do_attention_forward(out, lse, q, k, v, documents, shape);
}

void Ops::attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor dout, Tensor out, Tensor lse,
                             Tensor q, Tensor k, Tensor v, const Documents& documents,
                             const AttentionShape& shape) {
  const OperandCheck check{"attention_backward"};
  const Span timed = span("attention_backward");
  check_attention(check, q, k, v, lse, documents, shape);
  check.shape("dq", dq, q.rows, q.cols);
  check.shape("dk", dk, k.rows, k.cols);
  check.shape("dv", dv, v.rows, v.cols);
  check.shape("dout", dout, q.rows, q.cols);
  check.shape("out", out, q.rows, q.cols);
  check.apart("dq", dq, "dk", dk);
  check.apart("dq", dq, "dv", dv);
  check.apart("dk", dk, "dv", dv);
  for (const Tensor& y : {dq, dk, dv}) {
    check.dtype("a gradient", y, q.dtype);
    for (const Tensor& x : {q, k, v, out, dout}) check.apart("a gradient", y, "an input", x);
  }
  do_attention_backward(dq, dk, dv, dout, out, lse, q, k, v, documents, shape);
}

void Ops::gated_silu_forward(Tensor y, Tensor gate, Tensor up) {
  const OperandCheck check{"gated_silu_forward"};
  const Span timed = span("gated_silu_forward");
  check.compute("gate", gate);
  check.shape("y", y, gate.rows, gate.cols);
  check.shape("up", up, gate.rows, gate.cols);
  check.dtype("y", y, gate.dtype);
  check.dtype("up", up, gate.dtype);
  check.apart("y", y, "gate", gate);
  check.apart("y", y, "up", up);
  do_gated_silu_forward(y, gate, up);
}

void Ops::gated_silu_backward(Tensor dgate, Tensor dup, Tensor dy, Tensor gate, Tensor up) {
  const OperandCheck check{"gated_silu_backward"};
  const Span timed = span("gated_silu_backward");
  check.compute("gate", gate);
  for (const Tensor& x : {dgate, dup, dy, up}) {
    check.shape("an operand", x, gate.rows, gate.cols);
    check.dtype("an operand", x, gate.dtype);
  }
  check.same_or_apart("dgate", dgate, "gate", gate);
  check.same_or_apart("dup", dup, "up", up);
  check.apart("dgate", dgate, "up", up);
  check.apart("dup", dup, "gate", gate);
  do_gated_silu_backward(dgate, dup, dy, gate, up);
}

}  // namespace nibble
