// The public functions of Ops refuse wrong shapes, dtypes, strides and overlaps before any backend
// sees them: ErrorKind::internal, naming the operation.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "ops/op_test.h"

namespace nibble::test {
namespace {

class Checks : public testing::Test {
 protected:
  Ops& ops = shared_backend("cpu").ops();
  const Arena::Scope scope{ops.arena()};

  Tensor make(int64_t rows, int64_t cols, DType dtype = DType::f32) {
    const Tensor x = ops.arena().tensor(rows, cols, dtype, MemoryUse::working_set, "operand");
    ops.zero(x);
    return x;
  }
  Tensor strided(int64_t rows, int64_t cols, DType dtype = DType::f32) {
    return make(rows, cols + 3, dtype).columns(1, cols);
  }
  void refuses(const char* operation, const std::function<void()>& call) {
    const size_t used = ops.arena().used();
    try {
      call();
      ADD_FAILURE() << operation << " accepted it";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::internal) << error.what();
      EXPECT_EQ(std::string(error.what()).rfind(operation, 0), 0u) << error.what();
    }
    EXPECT_GE(ops.arena().used(), used);
  }
};

TEST_F(Checks, DataMovement) {
  refuses("zero", [&] { ops.zero({}); });
  refuses("copy", [&] { ops.copy(make(2, 3), make(3, 2)); });
  refuses("copy", [&] { ops.copy(make(2, 3, DType::bf16), make(2, 3)); });
  const Tensor x = make(4, 8);
  refuses("copy", [&] { ops.copy(x.columns(0, 5), x.columns(3, 5)); });
  refuses("copy", [&] { ops.copy(x.row_range(0, 3), x.row_range(1, 3)); });
  ops.copy(x.columns(0, 4), x.columns(4, 4));  // interleaved, but apart

  const Tensor places = make(1, 3, DType::i32);
  ops.scatter_rows(make(5, 4), make(3, 4), places);
  refuses("scatter_rows", [&] { ops.scatter_rows(make(2, 4), make(3, 4), places); });
  refuses("scatter_rows", [&] { ops.scatter_rows(make(5, 4), make(3, 5), places); });
  refuses("scatter_rows", [&] { ops.scatter_rows(make(5, 4), make(2, 4), places); });
  refuses("scatter_rows", [&] { ops.scatter_rows(make(5, 4), make(3, 4), make(1, 3)); });
  refuses("convert", [&] { ops.convert(make(2, 3), make(2, 4)); });
  refuses("convert", [&] { ops.convert(make(2, 3, DType::u8), make(2, 3)); });
  refuses("convert", [&] { ops.convert(strided(2, 3), make(2, 3)); });
  std::byte bytes[8] = {};
  refuses("upload", [&] { ops.upload(make(1, 3), bytes); });
  refuses("download", [&] { ops.download(bytes, make(1, 3)); });
}

TEST_F(Checks, Quantization) {
  const QuantSpec spec;
  const Tensor codes = make(1, 64, DType::u8), absmax = make(1, 2), map = make(1, 16);
  ops.quantize_blocks(codes, absmax, make(1, 128), spec, map);
  refuses("quantize_blocks", [&] { ops.quantize_blocks(codes, absmax, make(1, 130), spec, map); });
  refuses("quantize_blocks",
          [&] { ops.quantize_blocks(codes, make(1, 3), make(1, 128), spec, map); });
  refuses("quantize_blocks",
          [&] { ops.quantize_blocks(codes, absmax, make(1, 128), spec, make(1, 15)); });
  refuses("quantize_blocks",
          [&] { ops.quantize_blocks(make(1, 64), absmax, make(1, 128), spec, map); });
  refuses("quantize_blocks",
          [&] { ops.quantize_blocks(codes, absmax, make(1, 128, DType::i32), spec, map); });
  refuses("quantize_blocks", [&] {
    const QuantSpec odd{QuantType::nf4, false, 65};
    ops.quantize_blocks(codes, absmax, make(1, 128), odd, map);
  });

  QuantizedMatrix q;
  q.rows = 2;
  q.cols = 64;
  q.codes = codes;
  q.code_map = map;
  q.scale_codes = make(1, 2, DType::u8);
  q.nested_absmax = make(1, 1);
  q.nested_map = make(1, 256);
  q.offset = make(1, 1);
  ops.double_quantize(q, absmax);
  ops.dequantize(make(2, 64), q);
  refuses("double_quantize", [&] { ops.double_quantize(q, make(1, 3)); });
  const auto with = [&](auto change) {
    QuantizedMatrix changed = q;
    change(changed);
    return changed;
  };
  refuses("double_quantize",
          [&] { ops.double_quantize(with([](auto& m) { m.spec.double_quant = false; }), absmax); });
  refuses("double_quantize", [&] {
    ops.double_quantize(with([&](auto& m) { m.nested_absmax = make(1, 2); }), absmax);
  });
  refuses("dequantize", [&] { ops.dequantize(make(64, 2), q); });
  refuses("dequantize", [&] { ops.dequantize(strided(2, 64), q); });
  refuses("dequantize", [&] { ops.dequantize(make(2, 64, DType::i32), q); });
  refuses("dequantize", [&] {
    ops.dequantize(make(2, 64), with([&](auto& m) { m.codes = make(1, 63, DType::u8); }));
  });
  refuses("dequantize", [&] {
    ops.dequantize(make(2, 64), with([&](auto& m) { m.scale_codes = make(1, 1, DType::u8); }));
  });
  refuses("dequantize",
          [&] { ops.dequantize(make(2, 64), with([&](auto& m) { m.nested_absmax = {}; })); });
  refuses("dequantize",
          [&] { ops.dequantize(make(2, 64), with([](auto& m) { m.spec.double_quant = false; })); });
}

TEST_F(Checks, EmbeddingAndRope) {
  const Tensor ids = make(1, 5, DType::i32);
  ops.embedding(make(5, 8), make(10, 8), ids);
  refuses("embedding", [&] { ops.embedding(make(4, 8), make(10, 8), ids); });
  refuses("embedding", [&] { ops.embedding(make(5, 8, DType::bf16), make(10, 8), ids); });
  refuses("embedding", [&] { ops.embedding(make(5, 8), make(10, 8), make(1, 5)); });
  refuses("rope_tables", [&] { ops.rope_tables(make(5, 3), make(5, 4), ids, ids, make(1, 4), 1); });
  refuses("rope_tables", [&] {
    ops.rope_tables(make(5, 4), make(5, 4), make(1, 4, DType::i32), ids, make(1, 4), 1);
  });
  ops.rope_forward(make(5, 16), make(5, 4), make(5, 4), 8);
  refuses("rope_forward", [&] { ops.rope_forward(make(5, 16), make(5, 4), make(5, 4), 7); });
  refuses("rope_forward", [&] { ops.rope_forward(make(5, 16), make(5, 5), make(5, 5), 8); });
  refuses("rope_forward", [&] { ops.rope_forward(make(5, 16), make(4, 4), make(5, 4), 8); });
  refuses("rope_backward", [&] { ops.rope_backward(make(5, 16), make(5, 4), make(5, 3), 8); });
  refuses("rope_backward",
          [&] { ops.rope_backward(make(5, 16, DType::i32), make(5, 4), make(5, 4), 8); });
}

TEST_F(Checks, RmsNorm) {
  const Tensor x = make(4, 8), weight = make(1, 8), rstd = make(4, 1);
  refuses("rms_norm_forward", [&] { ops.rms_norm_forward(make(4, 7), rstd, x, weight, 0); });
  refuses("rms_norm_forward", [&] { ops.rms_norm_forward(make(4, 8), rstd, x, make(1, 3), 0); });
  refuses("rms_norm_forward", [&] { ops.rms_norm_forward(make(4, 8), make(4, 2), x, weight, 0); });
  refuses("rms_norm_forward",
          [&] { ops.rms_norm_forward(make(4, 8, DType::bf16), rstd, x, weight, 0); });
  const Tensor wide = make(6, 8);
  refuses("rms_norm_forward", [&] {
    ops.rms_norm_forward(wide.row_range(0, 4), rstd, wide.row_range(1, 4), weight, 0);
  });
  refuses("rms_norm_backward",
          [&] { ops.rms_norm_backward(x, false, make(4, 8), x, weight, rstd); });
  const Tensor dy = make(4, 8);
  ops.rms_norm_backward(dy, false, dy, x, weight, rstd);
  refuses("rms_norm_backward", [&] { ops.rms_norm_backward(dy, true, dy, x, weight, rstd); });
}

TEST_F(Checks, Attention) {
  const std::vector<int32_t> offsets = {0, 2, 5}, short_offsets = {0, 4}, bad = {0, 6, 5};
  const Tensor lines = make(2, 3, DType::i32);
  const Documents documents{offsets, offsets, lines};
  const AttentionShape shape{4, 2, 8, 1.0f, 0};
  const Tensor q = make(5, 32), k = make(5, 16), v = make(5, 16), lse = make(5, 4);
  const auto forward = [&](Tensor out, const Documents& d, const AttentionShape& s) {
    ops.attention_forward(out, lse, q, k, v, d, s);
  };
  forward(make(5, 32), documents, shape);
  const char* name = "attention_forward";
  refuses(name, [&] { forward(q, documents, shape); });
  refuses(name, [&] { forward(make(5, 31), documents, shape); });
  refuses(name, [&] {
    forward(make(5, 32), {short_offsets, short_offsets, make(2, 2, DType::i32)}, shape);
  });
  refuses(name, [&] { forward(make(5, 32), {bad, bad, lines}, shape); });
  refuses(name, [&] { forward(make(5, 32), {offsets, short_offsets, lines}, shape); });
  refuses(name, [&] { forward(make(5, 32), {{}, {}, lines}, shape); });
  refuses(name, [&] { forward(make(5, 32), {offsets, offsets}, shape); });
  refuses(name, [&] { forward(make(5, 32), documents, {4, 3, 8, 1.0f, 0}); });
  refuses(name, [&] { forward(make(5, 32), documents, {4, 2, 4, 1.0f, 0}); });
  refuses(name, [&] { forward(make(5, 32), documents, {4, 2, 8, 1.0f, -1}); });
  const auto backward = [&](Tensor dq, Tensor dk, Tensor dv) {
    ops.attention_backward(dq, dk, dv, make(5, 32), make(5, 32), lse, q, k, v, documents, shape);
  };
  backward(make(5, 32), make(5, 16), make(5, 16));
  name = "attention_backward";
  refuses(name, [&] { backward(q, make(5, 16), make(5, 16)); });
  refuses(name, [&] { backward(make(5, 32), make(5, 8), make(5, 16)); });
  refuses(name, [&] { backward(make(5, 32), make(5, 16), make(5, 16, DType::bf16)); });
  refuses(name, [&] {
    const Tensor both = make(5, 16);
    backward(make(5, 32), both, both);
  });
}

TEST_F(Checks, GatedSilu) {
  const Tensor gate = make(3, 8), up = make(3, 8);
  refuses("gated_silu_forward", [&] { ops.gated_silu_forward(make(3, 7), gate, up); });
  refuses("gated_silu_forward", [&] { ops.gated_silu_forward(gate, gate, up); });
  refuses("gated_silu_forward",
          [&] { ops.gated_silu_forward(make(3, 8), gate, make(3, 8, DType::bf16)); });
  refuses("gated_silu_backward",
          [&] { ops.gated_silu_backward(up, make(3, 8), make(3, 8), gate, up); });
  refuses("gated_silu_backward",
          [&] { ops.gated_silu_backward(make(3, 8), gate, make(3, 8), gate, up); });
  refuses("gated_silu_backward", [&] { ops.gated_silu_backward(gate, up, make(2, 8), gate, up); });
}

TEST_F(Checks, LoraLinear) {
  LoraLinear layer;
  FrozenLinear& w = layer.weight;
  w.out_features = 6;
  w.in_features = 8;
  w.dense = make(6, 8);
  LoraAdapter& lora = layer.lora;
  lora.a = make(2, 8);
  lora.b = make(6, 2);
  lora.scaling = 1;
  layer.gradient = {make(2, 8), make(6, 2)};
  const LinearGroup group{{&layer, 1}};
  const int64_t tail = group.tail();
  ASSERT_EQ(tail, 16);
  const Tensor x = make(3, 8 + tail), y = make(3, 6);
  const auto forward = [&](Tensor out, Tensor residual, Tensor in) {
    ops.lora_linear_forward(out, residual, in, group);
  };
  forward(y, {}, x);
  forward({}, {}, x);
  const char* name = "lora_linear_forward";
  refuses(name, [&] { ops.lora_linear_forward(y, {}, x, {}); });
  refuses(name, [&] { forward({}, y, x); });
  refuses(name, [&] { forward(make(3, 5), {}, x); });
  refuses(name, [&] { forward(y, {}, make(3, 8)); });
  refuses(name, [&] { forward(x.columns(0, 6), {}, x); });
  refuses(name, [&] { forward(y, make(2, 6), x); });
  refuses(name, [&] { forward(y, {}, make(3, 8 + tail, DType::bf16)); });
  {
    const LoraAdapter before = lora;
    lora.dropout = 1;
    refuses(name, [&] { forward(y, {}, x); });
    lora.dropout = 0.5f;
    refuses(name, [&] { forward(y, {}, x); });  // without a step
    lora = before;
    lora.b = make(6, 3);
    refuses(name, [&] { forward(y, {}, x); });
    lora = {};
    refuses(name, [&] { forward({}, {}, x.columns(0, 8)); });
    lora = before;
  }
  {
    LoraLinear two[] = {layer, layer};
    two[1].weight.in_features = 4;
    two[1].weight.dense = make(6, 4);
    refuses(name, [&] { ops.lora_linear_forward(make(3, 12), {}, x, {two}); });
  }
  w.bias = make(1, 5);
  refuses(name, [&] { forward(y, {}, x); });
  w.bias = {};
  w.quantized.codes = make(1, 24, DType::u8);
  refuses(name, [&] { forward(y, {}, x); });  // dense and quantized
  w.quantized = {};

  const Tensor dy = make(3, 6 + tail);
  const auto backward = [&](Tensor dx, Tensor of_y) {
    ops.lora_linear_backward(dx, of_y, x, group);
  };
  backward(make(3, 8), dy);
  backward({}, dy);
  name = "lora_linear_backward";
  refuses(name, [&] { backward(make(3, 7), dy); });
  refuses(name, [&] { backward(x.columns(0, 8), dy); });
  refuses(name, [&] { backward(make(3, 8), y); });
  layer.gradient.b = make(2, 6);
  refuses(name, [&] { backward(make(3, 8), dy); });
  layer.gradient = {};
  refuses(name, [&] { backward(make(3, 8), dy); });
}

TEST_F(Checks, LinearCrossEntropy) {
  const Tensor loss = make(1, 1), x = make(4, 8), head = make(10, 8);
  const Tensor labels = make(1, 4, DType::i32);
  const char* name = "linear_cross_entropy";
  refuses(name, [&] { ops.linear_cross_entropy(make(1, 2), {}, x, head, labels, 0, {}); });
  refuses(name, [&] { ops.linear_cross_entropy(loss, make(4, 8), x, head, labels, 0, {}); });
  refuses(name, [&] { ops.linear_cross_entropy(loss, make(4, 7), x, head, labels, 0, loss); });
  refuses(name, [&] { ops.linear_cross_entropy(loss, {}, x, make(10, 7), labels, 0, {}); });
  refuses(name, [&] { ops.linear_cross_entropy(loss, {}, x, head, make(1, 4), 0, {}); });
  refuses(name, [&] { ops.linear_cross_entropy(loss, {}, x, head, labels, 5, {}); });
  refuses(name, [&] { ops.linear_cross_entropy(loss, {}, x, head, labels, -1, {}); });
  refuses(name, [&] { ops.linear_cross_entropy(loss, {}, strided(4, 8), head, labels, 0, {}); });
  refuses("logits", [&] { ops.logits(make(4, 9), x, head); });
  refuses("logits", [&] { ops.logits(make(4, 10, DType::bf16), x, head); });
}

TEST_F(Checks, Optimizer) {
  const Tensor p = make(1, 300), g = make(1, 300), m = make(1, 300), v = make(1, 300);
  AdamWOptions options;
  refuses("sum_of_squares", [&] { ops.sum_of_squares(make(1, 2), p); });
  refuses("adamw", [&] { ops.adamw(p, make(1, 299), m, v, options); });
  refuses("adamw", [&] { ops.adamw(p, g, m, make(1, 300, DType::bf16), options); });
  Adam8bitState state{make(1, 300, DType::u8), make(1, 300, DType::u8), make(1, 2), make(1, 2)};
  ops.adamw_8bit(p, g, state, options);
  refuses("adamw_8bit", [&] { ops.adamw_8bit(p, make(1, 299), state, options); });
  state.v_absmax = make(1, 1);
  refuses("adamw_8bit", [&] { ops.adamw_8bit(p, g, state, options); });
  options.step = 0;
  refuses("adamw", [&] { ops.adamw(p, g, m, v, options); });
}

}  // namespace
}  // namespace nibble::test
