// Public faces of the linear layers, of head and loss, and of the optimizer.
#include "ops/checks.h"

namespace nibble {
namespace {

void check_linears(const OperandCheck& check, Tensor x, const LinearGroup& group) {
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

}  // namespace

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
  const OperandCheck check{"prepare"};
  const Span timed = span("prepare");
  check.require(!group.linears.empty(), "there are no layers");
  check.require(!group.prepared, "the group is prepared already");
  LinearGroup prepared = group;
  prepared.prepared = do_prepare(group, rows, compute);
  return prepared;
}

void Ops::lora_linear_forward(Tensor y, Tensor residual, Tensor x, const LinearGroup& group) {
  const OperandCheck check{"lora_linear_forward"};
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
  const OperandCheck check{"lora_linear_backward"};
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
  const OperandCheck check{"linear_cross_entropy"};
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
  const OperandCheck check{"logits"};
  const Span timed = span("logits");
  check.compute("x", x);
  check.dense("x", x);
  check.matrix("head", head, head.rows, x.cols, x.dtype);
  check.matrix("logits", logits, x.rows, head.rows, DType::f32);
  do_logits(logits, x, head);
}

void Ops::sum_of_squares(Tensor y, Tensor x) {
  const OperandCheck check{"sum_of_squares"};
  const Span timed = span("sum_of_squares");
  check.matrix("y", y, 1, 1, DType::f32);
  check.matrix("x", x, 1, x.cols, DType::f32);
  do_sum_of_squares(y, x);
}

void Ops::adamw(Tensor p, Tensor g, Tensor m, Tensor v, const AdamWOptions& options) {
  const OperandCheck check{"adamw"};
  const Span timed = span("adamw");
  for (const Tensor& x : {p, g, m, v}) check.matrix("an operand", x, 1, p.cols, DType::f32);
  for (const Tensor& x : {g, m, v}) check.apart("p", p, "another operand", x);
  check.apart("m", m, "v", v);
  check.require(options.step >= 1, "step starts at 1");
  do_adamw(p, g, m, v, options);
}

void Ops::adamw_8bit(Tensor p, Tensor g, const Adam8bitState& state, const AdamWOptions& options) {
  const OperandCheck check{"adamw_8bit"};
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
