// The public face of every operation: shapes, dtypes, density and overlap are checked here, once
// for all backends. A violation is a bug in Nibble, never bad input.
#include "ops/ops.h"

namespace nibble {
namespace {

// One operation's checks; names appear in the message.
struct Check {
  const char* op;

  void shape(const char* name, Tensor x, int64_t rows, int64_t cols) const {
    if (!x || x.rows != rows || x.cols != cols)
      fail(ErrorKind::internal, "{}: {} is [{}, {}], expected [{}, {}]", op, name, x.rows, x.cols,
           rows, cols);
  }
  void dtype(const char* name, Tensor x, DType expected) const {
    if (x.dtype != expected)
      fail(ErrorKind::internal, "{}: {} is {}, expected {}", op, name, name_of(x.dtype),
           name_of(expected));
  }
  void dense(const char* name, Tensor x) const {
    if (!x.dense())
      fail(ErrorKind::internal, "{}: {} has stride {} for {} columns, expected dense", op, name,
           x.stride, x.cols);
  }
  void compute(const char* name, Tensor x) const {
    float_type(name, x);  // the CPU's kernels know no float16 and say so
  }
  void float_type(const char* name, Tensor x) const {
    if (x.dtype != DType::f32 && x.dtype != DType::bf16 && x.dtype != DType::f16)
      fail(ErrorKind::internal, "{}: {} is {}, expected float32, bfloat16 or float16", op, name,
           name_of(x.dtype));
  }
  void block_size(int size) const {
    if (size < 32 || size > 4096 || (size & (size - 1)) != 0)
      fail(ErrorKind::internal, "{}: block_size is {}, expected a power of two in [32, 4096]", op,
           size);
  }
  void require(bool ok, const char* what) const {
    if (!ok) fail(ErrorKind::internal, "{}: {}", op, what);
  }
  // Shape, dtype and density of a parameter-like operand at once.
  void matrix(const char* name, Tensor x, int64_t rows, int64_t cols, DType type) const {
    shape(name, x, rows, cols);
    dtype(name, x, type);
    dense(name, x);
  }
  // Of a copy between near and far memory.
  void far_copy(Tensor y, Tensor x, bool right_sides) const {
    shape("y", y, x.rows, x.cols);
    dtype("y", y, x.dtype);
    dense("y", y);
    dense("x", x);
    require(right_sides, "one of x and y lies on the wrong side of far memory");
  }
  void apart(const char* a_name, Tensor a, const char* b_name, Tensor b) const {
    if (!a || !b || a.size() == 0 || b.size() == 0) return;
    if (interleaved(a, b)) return;
    if (a.raw() < end(b) && b.raw() < end(a))
      fail(ErrorKind::internal, "{}: {} overlaps {}", op, a_name, b_name);
  }
  void same_or_apart(const char* a_name, Tensor a, const char* b_name, Tensor b) const {
    if (a.data == b.data && a.stride == b.stride && a.cols == b.cols) return;
    apart(a_name, a, b_name, b);
  }

 private:
  static std::byte* end(Tensor x) {
    return x.raw() + ((x.rows - 1) * x.stride + x.cols) * static_cast<int64_t>(size_of(x.dtype));
  }
  // Disjoint column ranges of one wider matrix.
  static bool interleaved(Tensor a, Tensor b) {
    if (a.stride != b.stride || a.dtype != b.dtype || a.dense() || b.dense()) return false;
    const int64_t row_bytes = a.stride * static_cast<int64_t>(size_of(a.dtype));
    const int64_t distance = b.raw() - a.raw();
    const int64_t column =
        (distance % row_bytes + row_bytes) % row_bytes / static_cast<int64_t>(size_of(a.dtype));
    return column >= a.cols && column + b.cols <= a.stride;
  }
};

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

void check_linears(const Check& check, Tensor x, const LinearGroup& group) {
  check.require(!group.linears.empty(), "there are no layers");
  check.compute("x", x);
  check.shape("x", x, x.rows, group.in_features() + group.tail());
  for (const auto& [w, lora, gradient] : group.linears) {
    check.require(w.in_features == group.in_features(), "layers differ in in_features");
    check.require(static_cast<bool>(w.dense) != static_cast<bool>(w.quantized),
                  "the weight is neither dense nor quantized, or both");
    if (w.dense) check.matrix("w", w.dense, w.out_features, w.in_features, x.dtype);
    if (w.quantized)
      check.require(w.quantized.rows == w.out_features && w.quantized.cols == w.in_features,
                    "the quantized weight has another shape than the layer");
    if (w.bias) check.matrix("bias", w.bias, 1, w.out_features, x.dtype);
    if (!lora) continue;
    check.matrix("a", lora.a, lora.rank(), w.in_features, DType::f32);
    check.matrix("b", lora.b, w.out_features, lora.rank(), DType::f32);
    check.require(lora.dropout >= 0 && lora.dropout < 1, "dropout is not in [0, 1)");
    if (lora.dropout > 0) check.matrix("dropout_step", lora.dropout_step, 1, 2, DType::i32);
  }
}

void check_attention(const Check& check, Tensor q, Tensor k, Tensor v, Tensor lse,
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

void check_rope(const Check& check, Tensor x, Tensor cos, Tensor sin, int64_t head_dim) {
  check.compute("x", x);
  check.require(head_dim > 0 && x.cols % head_dim == 0, "head_dim does not divide the columns");
  check.require(2 * cos.cols <= head_dim, "rotary_dim exceeds head_dim");
  check.matrix("cos", cos, x.rows, cos.cols, DType::f32);
  check.matrix("sin", sin, x.rows, cos.cols, DType::f32);
}

}  // namespace

void Ops::repeat(const Key& key, const std::function<void()>& work) {
  if (probe_) return work();  // which is told of each operation
  do_repeat(key, work);
}

void Ops::zero(Tensor y) {
  Check{"zero"}.require(static_cast<bool>(y), "y is empty");
  do_zero(y);
}

void Ops::copy(Tensor y, Tensor x) {
  const Check check{"copy"};
  const Span timed = span("copy");
  check.shape("y", y, x.rows, x.cols);
  check.dtype("y", y, x.dtype);
  check.apart("y", y, "x", x);
  do_copy(y, x);
}

void Ops::convert(Tensor y, Tensor x) {
  const Check check{"convert"};
  const Span timed = span("convert");
  check.shape("y", y, x.rows, x.cols);
  check.dense("y", y);
  check.dense("x", x);
  check.apart("y", y, "x", x);
  check.float_type("y", y);
  check.float_type("x", x);
  do_convert(y, x);
}

void Ops::upload(Tensor y, std::span<const std::byte> x) {
  const Check check{"upload"};
  const Span timed = span("upload");
  check.dense("y", y);
  check.require(static_cast<int64_t>(x.size()) == y.bytes(), "sizes differ");
  do_upload(y, x);
}

void Ops::download(std::span<std::byte> y, Tensor x) {
  const Check check{"download"};
  const Span timed = span("download");
  check.dense("x", x);
  check.require(static_cast<int64_t>(y.size()) == x.bytes(), "sizes differ");
  do_download(y, x);
}

Arena& Ops::far() const {
  Check{"far"}.require(far_ != nullptr, "there is no far memory");
  return *far_;
}

bool Ops::is_far(Tensor x) const { return far_ && far_->contains(x.data); }

Ops::Ticket Ops::fetch(Tensor y, Tensor x) {
  const Span timed = span("fetch");
  Check{"fetch"}.far_copy(y, x, is_far(x) && !is_far(y));
  return do_fetch(y, x);
}

Ops::Ticket Ops::store(Tensor y, Tensor x) {
  const Span timed = span("store");
  Check{"store"}.far_copy(y, x, is_far(y) && !is_far(x));
  return do_store(y, x);
}

void Ops::wait(Ticket ticket) {
  if (ticket.number > 0) do_wait(ticket);
}

void Ops::quantize_blocks(Tensor codes, Tensor absmax, Tensor x, const QuantSpec& spec,
                          Tensor code_map) {
  const Check check{"quantize_blocks"};
  const Span timed = span("quantize_blocks");
  const int64_t n = x.size();
  check.dense("x", x);
  check.float_type("x", x);
  check.block_size(spec.block_size);
  check.matrix("codes", codes, 1, ceil_div(n, 2), DType::u8);
  check.matrix("absmax", absmax, 1, ceil_div(n, spec.block_size), DType::f32);
  check.matrix("code_map", code_map, 1, 16, DType::f32);
  do_quantize_blocks(codes, absmax, x, spec, code_map);
}

void Ops::double_quantize(const QuantizedMatrix& q, Tensor absmax) {
  const Check check{"double_quantize"};
  const Span timed = span("double_quantize");
  check.require(q.spec.double_quant, "the matrix is not double-quantized");
  check.matrix("absmax", absmax, 1, q.blocks(), DType::f32);
  check.matrix("scale_codes", q.scale_codes, 1, q.blocks(), DType::u8);
  check.matrix("nested_absmax", q.nested_absmax, 1,
               ceil_div(q.blocks(), QuantSpec::nested_block_size), DType::f32);
  check.matrix("nested_map", q.nested_map, 1, 256, DType::f32);
  check.matrix("offset", q.offset, 1, 1, DType::f32);
  do_double_quantize(q, absmax);
}

void Ops::dequantize(Tensor w, const QuantizedMatrix& q) {
  const Check check{"dequantize"};
  const Span timed = span("dequantize");
  check.shape("w", w, q.rows, q.cols);
  check.dense("w", w);
  check.float_type("w", w);
  check.block_size(q.spec.block_size);
  check.matrix("codes", q.codes, 1, ceil_div(q.size(), 2), DType::u8);
  check.matrix("code_map", q.code_map, 1, 16, DType::f32);
  if (q.spec.double_quant) {
    check.matrix("scale_codes", q.scale_codes, 1, q.blocks(), DType::u8);
    check.matrix("nested_absmax", q.nested_absmax, 1,
                 ceil_div(q.blocks(), QuantSpec::nested_block_size), DType::f32);
    check.matrix("nested_map", q.nested_map, 1, 256, DType::f32);
    check.matrix("offset", q.offset, 1, 1, DType::f32);
  } else {
    check.matrix("absmax", q.absmax, 1, q.blocks(), DType::f32);
  }
  do_dequantize(w, q);
}

void Ops::embedding(Tensor y, Tensor table, Tensor ids) {
  const Check check{"embedding"};
  const Span timed = span("embedding");
  check.matrix("y", y, ids.cols, table.cols, table.dtype);
  check.matrix("ids", ids, 1, y.rows, DType::i32);
  check.dense("table", table);
  do_embedding(y, table, ids);
}

void Ops::rope_tables(Tensor cos, Tensor sin, Tensor positions, Tensor variants,
                      Tensor inverse_frequencies, float factor) {
  const Check check{"rope_tables"};
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
  const Check check{"rms_norm_forward"};
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
  const Check check{"rms_norm_backward"};
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
  const Check check{"attention_forward"};
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
  const Check check{"attention_backward"};
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
  const Check check{"gated_silu_forward"};
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
  const Check check{"gated_silu_backward"};
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

int64_t LinearGroup::out_features() const {
  int64_t sum = 0;
  for (const LoraLinear& linear : linears) sum += linear.weight.out_features;
  return sum;
}

int64_t LinearGroup::rank() const {
  int64_t sum = 0;
  for (const LoraLinear& linear : linears) sum += linear.lora ? linear.lora.rank() : 0;
  return sum;
}

LinearGroup Ops::prepare(const LinearGroup& group, int64_t rows, DType compute) {
  const Check check{"prepare"};
  const Span timed = span("prepare");
  check.require(!group.linears.empty(), "there are no layers");
  check.require(!group.prepared, "the group is prepared already");
  LinearGroup prepared = group;
  prepared.prepared = do_prepare(group, rows, compute);
  return prepared;
}

void Ops::lora_linear_forward(Tensor y, Tensor residual, Tensor x, const LinearGroup& group) {
  const Check check{"lora_linear_forward"};
  const Span timed = span("lora_linear_forward");
  check_linears(check, x, group);
  check.require(y || group.rank() > 0, "there is nothing to compute");
  if (y) {
    check.shape("y", y, x.rows, group.out_features());
    check.dtype("y", y, x.dtype);
    check.apart("y", y, "x", x);
  }
  if (residual) {
    check.require(static_cast<bool>(y), "a residual without y");
    check.shape("residual", residual, x.rows, group.out_features());
    check.dtype("residual", residual, x.dtype);
    check.same_or_apart("y", y, "residual", residual);
  }
  do_lora_linear_forward(y, residual, x, group);
}

void Ops::lora_linear_backward(Tensor dx, Tensor dy, Tensor x, const LinearGroup& group) {
  const Check check{"lora_linear_backward"};
  const Span timed = span("lora_linear_backward");
  check_linears(check, x, group);
  check.shape("dy", dy, x.rows, group.out_features() + group.tail());
  check.dtype("dy", dy, x.dtype);
  check.apart("dy", dy, "x", x);
  if (dx) {
    check.matrix("dx", dx, x.rows, group.in_features(), x.dtype);
    check.apart("dx", dx, "dy", dy);
    check.apart("dx", dx, "x", x);
  }
  for (const auto& [w, lora, gradient] : group.linears) {
    if (!lora) continue;
    check.matrix("gradient.a", gradient.a, lora.rank(), w.in_features, DType::f32);
    check.matrix("gradient.b", gradient.b, w.out_features, lora.rank(), DType::f32);
  }
  do_lora_linear_backward(dx, dy, x, group);
}

void Ops::linear_cross_entropy(Tensor loss, Tensor dx, Tensor x, Tensor head, Tensor labels,
                               int64_t trained, Tensor gradient, LogitsIn held) {
  const Check check{"linear_cross_entropy"};
  const Span timed = span("linear_cross_entropy");
  check.compute("x", x);
  check.dense("x", x);
  check.matrix("head", head, head.rows, x.cols, x.dtype);
  check.matrix("labels", labels, 1, x.rows, DType::i32);
  check.matrix("loss", loss, 1, 1, DType::f32);
  check.require(trained >= 0 && trained <= x.rows, "more trained tokens than rows");
  if (dx) {
    check.matrix("dx", dx, x.rows, x.cols, x.dtype);
    check.same_or_apart("dx", dx, "x", x);
    check.matrix("gradient", gradient, 1, 1, DType::f32);
  }
  check.require(held == LogitsIn::tiles || !is_far(head),
                "a far head, and its logits not in tiles");
  do_linear_cross_entropy(loss, dx, x, head, labels, trained, gradient, held);
}

void Ops::logits(Tensor logits, Tensor x, Tensor head) {
  const Check check{"logits"};
  const Span timed = span("logits");
  check.compute("x", x);
  check.dense("x", x);
  check.matrix("head", head, head.rows, x.cols, x.dtype);
  check.matrix("logits", logits, x.rows, head.rows, DType::f32);
  do_logits(logits, x, head);
}

void Ops::sum_of_squares(Tensor y, Tensor x) {
  const Check check{"sum_of_squares"};
  const Span timed = span("sum_of_squares");
  check.matrix("y", y, 1, 1, DType::f32);
  check.matrix("x", x, 1, x.cols, DType::f32);
  do_sum_of_squares(y, x);
}

void Ops::adamw(Tensor p, Tensor g, Tensor m, Tensor v, const AdamWOptions& options) {
  const Check check{"adamw"};
  const Span timed = span("adamw");
  for (const Tensor& x : {p, g, m, v}) check.matrix("an operand", x, 1, p.cols, DType::f32);
  for (const Tensor& x : {g, m, v}) check.apart("p", p, "another operand", x);
  check.apart("m", m, "v", v);
  check.require(options.step >= 1, "step starts at 1");
  do_adamw(p, g, m, v, options);
}

void Ops::adamw_8bit(Tensor p, Tensor g, const Adam8bitState& state, const AdamWOptions& options) {
  const Check check{"adamw_8bit"};
  const Span timed = span("adamw_8bit");
  check.matrix("p", p, 1, p.cols, DType::f32);
  check.matrix("g", g, 1, p.cols, DType::f32);
  check.matrix("m_codes", state.m_codes, 1, p.cols, DType::u8);
  check.matrix("v_codes", state.v_codes, 1, p.cols, DType::u8);
  check.matrix("m_absmax", state.m_absmax, 1, ceil_div(p.cols, 256), DType::f32);
  check.matrix("v_absmax", state.v_absmax, 1, ceil_div(p.cols, 256), DType::f32);
  check.require(options.step >= 1, "step starts at 1");
  do_adamw_8bit(p, g, state, options);
}

}  // namespace nibble
