// Public faces of what moves, quantizes and repeats.
#include "ops/checks.h"

namespace nibble {
namespace {

constexpr const char* in_repeat = "within work that is repeated";

// The scales of a double-quantized matrix.
void check_double_quantized(const OperandCheck& check, const QuantizedMatrix& q) {
  check.matrix("scale_codes", q.scale_codes, 1, q.blocks(), DType::u8);
  check.matrix("nested_absmax", q.nested_absmax, 1,
               ceil_div(q.blocks(), QuantSpec::nested_block_size), DType::f32);
  check.matrix("nested_map", q.nested_map, 1, 256, DType::f32);
  check.matrix("offset", q.offset, 1, 1, DType::f32);
}

}  // namespace

void Ops::repeat(const Key& key, const std::function<void()>& work) {
  struct Within {
    explicit Within(bool& state) : state_(state) { state_ = true; }
    ~Within() { state_ = false; }
    bool& state_;
  } const within(repeating_);
  if (probe_) return work();  // which is told of each operation
  do_repeat(key, work);
}

void Ops::zero(Tensor y) {
  OperandCheck{"zero"}.require(static_cast<bool>(y), "y is empty");
  do_zero(y);
}

void Ops::copy(Tensor y, Tensor x) {
  const OperandCheck check{"copy"};
  const Span timed = span("copy");
  check.shape("y", y, x.rows, x.cols);
  check.dtype("y", y, x.dtype);
  check.apart("y", y, "x", x);
  do_copy(y, x);
}

void Ops::scatter_rows(Tensor y, Tensor x, Tensor rows) {
  const OperandCheck check{"scatter_rows"};
  const Span timed = span("scatter_rows");
  check.matrix("rows", rows, 1, x.rows, DType::i32);
  check.shape("y", y, y.rows, x.cols);
  check.dtype("y", y, x.dtype);
  check.require(x.rows <= y.rows, "more rows than y has");
  check.apart("y", y, "x", x);
  do_scatter_rows(y, x, rows);
}

void Ops::convert(Tensor y, Tensor x) {
  const OperandCheck check{"convert"};
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
  const OperandCheck check{"upload"};
  const Span timed = span("upload");
  check.dense("y", y);
  check.require(static_cast<int64_t>(x.size()) == y.bytes(), "sizes differ");
  check.require(!repeating_, in_repeat);
  do_upload(y, x);
}

void Ops::download(std::span<std::byte> y, Tensor x) {
  const OperandCheck check{"download"};
  const Span timed = span("download");
  check.dense("x", x);
  check.require(static_cast<int64_t>(y.size()) == x.bytes(), "sizes differ");
  check.require(!repeating_, in_repeat);
  do_download(y, x);
}

Arena& Ops::far() const {
  OperandCheck{"far"}.require(far_ != nullptr, "there is no far memory");
  return *far_;
}

bool Ops::is_far(Tensor x) const { return far_ && far_->contains(x.data); }

Ops::Ticket Ops::fetch(Tensor y, Tensor x) {
  const Span timed = span("fetch");
  const OperandCheck check{"fetch"};
  check.far_copy(y, x, is_far(x) && !is_far(y));
  check.require(!repeating_, in_repeat);
  return do_fetch(y, x);
}

Ops::Ticket Ops::store(Tensor y, Tensor x) {
  const Span timed = span("store");
  const OperandCheck check{"store"};
  check.far_copy(y, x, is_far(y) && !is_far(x));
  check.require(!repeating_, in_repeat);
  return do_store(y, x);
}

void Ops::wait(Ticket ticket) {
  if (ticket.number > 0) do_wait(ticket);
}

void Ops::quantize_blocks(Tensor codes, Tensor absmax, Tensor x, const QuantSpec& spec,
                          Tensor code_map) {
  const OperandCheck check{"quantize_blocks"};
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
  const OperandCheck check{"double_quantize"};
  const Span timed = span("double_quantize");
  check.require(q.spec.double_quant, "the matrix is not double-quantized");
  check.matrix("absmax", absmax, 1, q.blocks(), DType::f32);
  check_double_quantized(check, q);
  do_double_quantize(q, absmax);
}

void Ops::dequantize(Tensor w, const QuantizedMatrix& q) {
  const OperandCheck check{"dequantize"};
  const Span timed = span("dequantize");
  check.shape("w", w, q.rows, q.cols);
  check.dense("w", w);
  check.float_type("w", w);
  check.block_size(q.spec.block_size);
  check.matrix("codes", q.codes, 1, ceil_div(q.size(), 2), DType::u8);
  check.matrix("code_map", q.code_map, 1, 16, DType::f32);
  if (q.spec.double_quant) {
    check_double_quantized(check, q);
  } else {
    check.matrix("absmax", q.absmax, 1, q.blocks(), DType::f32);
  }
  do_dequantize(w, q);
}

}  // namespace nibble
