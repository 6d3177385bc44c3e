// Times the operations of a training step on the CPU backend, at the shapes of a Llama of 110 M
// parameters, after checking samples of every result in double precision.
//
//   ops_bench [tokens=2048] [document=512] [threads=all]
//
// The ceiling is oneDNN's own product at the step's largest shape, measured in the same run. For
// operations that multiply matrices, GFLOP/s and per cent of the ceiling are printed.
#include <fmt/format.h>
#include <omp.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

#include "core/buffer.h"
#include "core/rng.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/isa.h"
#include "ops/cpu/scratch.h"
#include "quant/block_quant.h"
#include "quant/dynamic_map.h"

namespace {

using namespace nibble;

constexpr int64_t hidden = 768, feed_forward = 2048, heads = 12, head_dim = 64, rank = 16,
                  vocabulary = 32000, layers = 12;
constexpr DType compute = DType::bf16;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double at(Tensor x, int64_t row, int64_t col) {
  const void* element = x.row_range(row, 1).columns(col, 1).data;
  return x.dtype == DType::bf16 ? static_cast<double>(to_float(*static_cast<const bf16*>(element)))
                                : static_cast<double>(*static_cast<const float*>(element));
}

class Bench {
 public:
  Bench(int64_t tokens, int64_t document, int threads)
      : tokens_(tokens),
        threads_(threads),
        memory_(Buffer::host(size_t{2} << 30)),
        arena_(memory_.data(), memory_.size()),
        ops_(arena_, threads) {
    for (int64_t end = 0; end < tokens;) {
      offsets_.push_back(static_cast<int32_t>(end));
      end = std::min(end + document, tokens);
      if (end == tokens) offsets_.push_back(static_cast<int32_t>(end));
    }
  }

  int run();

 private:
  Tensor make(int64_t rows, int64_t cols, DType dtype = compute) {
    return arena_.tensor(rows, cols, dtype, MemoryUse::batch, "bench");
  }
  Tensor normal(int64_t rows, int64_t cols, DType dtype = compute, float scale = 1) {
    const Tensor x = make(rows, cols, DType::f32);
    RandomSequence words(1, seed_++);
    float* values = x.as<float>();
    for (int64_t i = 0; i < x.size(); ++i) {  // a sum of uniforms is normal enough
      float sum = 0;
      for (int j = 0; j < 4; ++j) sum += uniform_float(words.next()) - 0.5f;
      values[i] = sum * 1.732f * scale;
    }
    if (dtype == DType::f32) return x;
    const Tensor y = make(rows, cols, dtype);
    ops_.convert(y, x);
    return y;
  }
  FrozenLinear quantized(int64_t out, int64_t in);

  // Milliseconds of the fastest of several runs.
  double time(const std::function<void()>& body) {
    body();
    double best = 1e30;
    const double deadline = now() + 0.6;
    for (int i = 0; i < 5 || (now() < deadline && i < 200); ++i) {
      const double begin = now();
      body();
      best = std::min(best, now() - begin);
    }
    return best * 1e3;
  }
  // Per layer, or per step when count is 1 for the whole step; adds to the step's total.
  void report(const std::string& name, double ms, double gflop, int64_t times) {
    const double rate = gflop / ms * 1e3;
    if (gflop > 0)
      fmt::print("{:<44}{:>9.3f}{:>7}{:>9.1f}{:>9.1f}{:>7.0f}%\n", name, ms, times,
                 ms * static_cast<double>(times), rate, 100 * rate / ceiling_);
    else
      fmt::print("{:<44}{:>9.3f}{:>7}{:>9.1f}\n", name, ms, times, ms * static_cast<double>(times));
    total_ms_ += ms * static_cast<double>(times);
    total_gflop_ += gflop * static_cast<double>(times);
  }
  void expect(const char* name, double got, double expected, double scale) {
    if (std::abs(got - expected) <= 0.02 * scale) return;
    fmt::print("{}: got {}, expected {}\n", name, got, expected);
    ++wrong_;
  }

  void ceiling();
  void linear(const char* name, int64_t out, int64_t in, bool residual);
  void attention();
  void pointwise();
  void loss();
  void optimizer();

  int64_t tokens_;
  int threads_;
  Buffer memory_;
  Arena arena_;
  CpuOps ops_;
  std::vector<int32_t> offsets_;
  uint64_t seed_ = 0;
  int wrong_ = 0;
  double ceiling_ = 0, total_ms_ = 0, total_gflop_ = 0;
};

void Bench::ceiling() {
  const Arena::Scope scope(arena_);
  cpu::Matmul matmul(threads_);
  const Tensor workspace = cpu::matmul_workspace(arena_, threads_);
  const auto product = [&](int64_t m, int64_t n, int64_t k) {
    const Tensor a = normal(m, k), b = normal(n, k), c = make(m, n);
    const double ms =
        time([&] { matmul.run(c, false, cpu::plain(a), cpu::transposed(b), {}, workspace); });
    const double rate = 2e-6 * static_cast<double>(m * n * k) / ms;
    fmt::print("oneDNN bf16 {} x {} x {}: {:.1f} GFLOP/s\n", m, n, k, rate);
    ceiling_ = std::max(ceiling_, rate);
  };
  product(tokens_, feed_forward, hidden);
  product(tokens_, hidden, feed_forward);
}

FrozenLinear Bench::quantized(int64_t out, int64_t in) {
  QuantizedMatrix q;
  q.rows = out;
  q.cols = in;
  q.codes = make(1, q.size() / 2, DType::u8);
  q.code_map = make(1, 16, DType::f32);
  ops_.upload(q.code_map, std::as_bytes(std::span(nf4_code)));
  q.scale_codes = make(1, q.blocks(), DType::u8);
  q.nested_absmax = make(1, (q.blocks() + 255) / 256, DType::f32);
  q.nested_map = make(1, 256, DType::f32);
  ops_.upload(q.nested_map, std::as_bytes(std::span(dynamic_map_signed())));
  q.offset = make(1, 1, DType::f32);
  const Arena::Scope scope(arena_);
  const Tensor w = normal(out, in, compute, 0.04f);
  const Tensor absmax = make(1, q.blocks(), DType::f32);
  ops_.quantize_blocks(q.codes, absmax, w.reshaped(1, w.size()), q.spec, q.code_map);
  ops_.double_quantize(q, absmax);
  FrozenLinear linear;
  linear.out_features = out;
  linear.in_features = in;
  linear.quantized = q;
  return linear;
}

void Bench::linear(const char* name, int64_t out, int64_t in, bool with_residual) {
  const Arena::Scope scope(arena_);
  LoraLinear layer;
  layer.weight = quantized(out, in);
  const FrozenLinear& w = layer.weight;
  const int64_t tail = LinearGroup::lora_tail(rank);
  const Tensor x = normal(tokens_, in + tail), y = make(tokens_, out);
  const Tensor residual = with_residual ? normal(tokens_, out) : Tensor{};
  LoraAdapter& lora = layer.lora;
  lora.a = normal(rank, in, DType::f32, 0.03f);
  lora.b = normal(out, rank, DType::f32, 0.1f);
  lora.scaling = 2;
  const double big = 2e-9 * static_cast<double>(tokens_ * out * in);
  const double small = 2e-9 * static_cast<double>(tokens_ * rank * (out + in));

  const double forward = time([&] { ops_.lora_linear_forward(y, residual, x, {{&layer, 1}}); });
  for (int64_t i = 0; i < 8; ++i) {
    const int64_t row = i * 251 % tokens_, col = i * 97 % out;
    double expected = residual ? at(residual, row, col) : 0;
    for (int64_t k = 0; k < in; ++k)
      expected += at(x, row, k) * static_cast<double>(decode(w.quantized, col * in + k));
    for (int64_t r = 0; r < rank; ++r) {
      double sum = 0;
      for (int64_t k = 0; k < in; ++k) sum += at(x, row, k) * at(lora.a, r, k);
      expected += 2 * sum * at(lora.b, col, r);
    }
    expect(name, at(y, row, col), expected, 2);
  }
  report(fmt::format("lora_linear_forward {} {}x{}", name, out, in), forward, big + small, layers);
  const Tensor weight = make(out, in);
  fmt::print("  of it dequantize: {:.3f} ms\n",
             time([&] { ops_.dequantize(weight, w.quantized); }));

  layer.gradient = {normal(rank, in, DType::f32), normal(out, rank, DType::f32)};
  const Tensor dy = normal(tokens_, out + tail), dx = make(tokens_, in);
  const double backward = time([&] { ops_.lora_linear_backward(dx, dy, x, {{&layer, 1}}); });
  for (int64_t i = 0; i < 8; ++i) {
    const int64_t row = i * 251 % tokens_, col = i * 97 % in;
    double expected = 0;
    for (int64_t o = 0; o < out; ++o)
      expected += at(dy, row, o) * static_cast<double>(decode(w.quantized, o * in + col));
    for (int64_t r = 0; r < rank; ++r) {
      double sum = 0;
      for (int64_t o = 0; o < out; ++o) sum += at(dy, row, o) * at(lora.b, o, r);
      expected += 2 * sum * at(lora.a, r, col);
    }
    expect(name, at(dx, row, col), expected, 2);
  }
  report(fmt::format("lora_linear_backward {}", name), backward, big + 2 * small, layers);
}

void Bench::attention() {
  const Arena::Scope scope(arena_);
  const Tensor qkv = normal(tokens_, 3 * hidden), out = make(tokens_, hidden);
  const Tensor q = qkv.columns(0, hidden), k = qkv.columns(hidden, hidden),
               v = qkv.columns(2 * hidden, hidden), lse = make(tokens_, heads, DType::f32);
  const Documents documents = {offsets_, offsets_};
  const AttentionShape shape = {heads, heads, head_dim, 0.125f, 0};
  double pairs = 0;
  for (size_t i = 0; i + 1 < offsets_.size(); ++i) {
    const double n = offsets_[i + 1] - offsets_[i];
    pairs += n * (n + 1) / 2;
  }
  const double product = 2e-9 * pairs * static_cast<double>(hidden);  // of one of its products

  const double forward = time([&] { ops_.attention_forward(out, lse, q, k, v, documents, shape); });
  const int64_t row = offsets_[1] - 1;
  for (int64_t head = 0; head < 3; ++head) {
    double sum = 0, weighted = 0;
    for (int64_t j = 0; j <= row; ++j) {
      double score = 0;
      for (int64_t c = head * head_dim; c < (head + 1) * head_dim; ++c)
        score += at(q, row, c) * at(k, j, c);
      sum += std::exp(score / 8);
      weighted += std::exp(score / 8) * at(v, j, head * head_dim);
    }
    expect("attention", at(out, row, head * head_dim), weighted / sum, 0.5);
    expect("attention lse", at(lse, row, head), std::log(sum), 0.5);
  }
  report("attention_forward", forward, 2 * product, layers);
  const Tensor dqkv = make(tokens_, 3 * hidden), dout = normal(tokens_, hidden);
  report("attention_backward", time([&] {
           ops_.attention_backward(dqkv.columns(0, hidden), dqkv.columns(hidden, hidden),
                                   dqkv.columns(2 * hidden, hidden), dout, out, lse, q, k, v,
                                   documents, shape);
         }),
         5 * product, layers);
  const Tensor cos = make(tokens_, head_dim / 2, DType::f32);
  const Tensor sin = make(tokens_, head_dim / 2, DType::f32);
  report("rope_forward (q and k)",
         time([&] { ops_.rope_forward(qkv.columns(0, 2 * hidden), cos, sin, head_dim); }), 0,
         2 * layers);
}

void Bench::pointwise() {
  const Arena::Scope scope(arena_);
  const Tensor x = normal(tokens_, hidden), y = make(tokens_, hidden), dx = make(tokens_, hidden);
  const Tensor weight = normal(1, hidden, DType::f32), rstd = make(tokens_, 1, DType::f32);
  report("rms_norm_forward", time([&] { ops_.rms_norm_forward(y, rstd, x, weight, 1e-5f); }), 0,
         2 * layers);
  double squares = 0;
  for (int64_t i = 0; i < hidden; ++i) squares += at(x, 5, i) * at(x, 5, i);
  const double scale = 1 / std::sqrt(squares / hidden + 1e-5);
  expect("rms_norm", at(y, 5, 7), at(x, 5, 7) * scale * at(weight, 0, 7), 1);
  report("rms_norm_backward", time([&] { ops_.rms_norm_backward(dx, true, y, x, weight, rstd); }),
         0, 2 * layers);

  const Tensor gate_up = normal(tokens_, 2 * feed_forward), act = make(tokens_, feed_forward);
  const Tensor dact = normal(tokens_, feed_forward), d = make(tokens_, 2 * feed_forward);
  const Tensor gate = gate_up.columns(0, feed_forward);
  const Tensor up = gate_up.columns(feed_forward, feed_forward);
  report("gated_silu_forward", time([&] { ops_.gated_silu_forward(act, gate, up); }), 0, layers);
  const double g = at(gate, 3, 9);
  expect("gated_silu", at(act, 3, 9), g / (1 + std::exp(-g)) * at(up, 3, 9), 1);
  report("gated_silu_backward", time([&] {
           ops_.gated_silu_backward(d.columns(0, feed_forward),
                                    d.columns(feed_forward, feed_forward), dact, gate, up);
         }),
         0, layers);
}

void Bench::loss() {
  const Arena::Scope scope(arena_);
  const Tensor x = normal(tokens_, hidden), head = normal(vocabulary, hidden, compute, 0.04f);
  const Tensor dx = make(tokens_, hidden), labels = make(1, tokens_, DType::i32);
  const Tensor sum = make(1, 1, DType::f32);
  for (int64_t i = 0; i < tokens_; ++i)
    labels.as<int32_t>()[i] = static_cast<int32_t>(i * 7919 % vocabulary);
  const double ms = time([&] {
    ops_.zero(sum);
    ops_.linear_cross_entropy(sum, dx, x, head, labels, tokens_, 1.0f);
  });
  // Random logits of variance s^2 have the expected loss ln V + s^2 / 2, with s^2 = 768 * 0.04^2.
  expect("loss", at(sum, 0, 0) / static_cast<double>(tokens_),
         std::log(vocabulary) + 0.5 * hidden * 0.04 * 0.04, 5);
  report("linear_cross_entropy", ms, 4e-9 * static_cast<double>(tokens_ * vocabulary * hidden), 1);
}

void Bench::optimizer() {
  const Arena::Scope scope(arena_);
  const int64_t n = layers * rank * (4 * 2 * hidden + 3 * (hidden + feed_forward));
  const Tensor p = normal(1, n, DType::f32), g = normal(1, n, DType::f32);
  const Tensor m = make(1, n, DType::f32), v = make(1, n, DType::f32);
  ops_.zero(m);
  ops_.zero(v);
  AdamWOptions options;
  options.learning_rate = 1e-4f;
  report("adamw", time([&] { ops_.adamw(p, g, m, v, options); }), 0, 1);
  const Adam8bitState state = {make(1, n, DType::u8), make(1, n, DType::u8),
                               make(1, (n + 255) / 256, DType::f32),
                               make(1, (n + 255) / 256, DType::f32)};
  for (const Tensor x : {state.m_codes, state.v_codes, state.m_absmax, state.v_absmax})
    ops_.zero(x);
  fmt::print("adamw_8bit instead: {:.3f} ms\n",
             time([&] { ops_.adamw_8bit(p, g, state, options); }));
}

int Bench::run() {
  fmt::print("kernels {}, {} threads, {} tokens in {} documents, bfloat16\n", cpu::kernels().name,
             threads_, tokens_, offsets_.size() - 1);
  ceiling();
  fmt::print("\n{:<44}{:>9}{:>7}{:>9}{:>9}{:>8}\n", "operation", "ms", "times", "ms/step",
             "GFLOP/s", "ceiling");
  linear("qkv", 3 * hidden, hidden, false);
  linear("o", hidden, hidden, true);
  linear("gate_up", 2 * feed_forward, hidden, false);
  linear("down", hidden, feed_forward, true);
  attention();
  pointwise();
  loss();
  optimizer();
  fmt::print(
      "\nsum over the step, without recomputation: {:.0f} ms, {:.1f} GFLOP/s, {:.0f}% of the "
      "ceiling\n",
      total_ms_, total_gflop_ / total_ms_ * 1e3, 100 * total_gflop_ / total_ms_ * 1e3 / ceiling_);
  fmt::print("{}\n", wrong_ == 0 ? "all samples verified" : "WRONG RESULTS");
  return wrong_ == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int i, int64_t otherwise) {
    return argc > i ? std::strtoll(argv[i], nullptr, 10) : otherwise;
  };
  return Bench(argument(1, 2048), argument(2, 512),
               static_cast<int>(argument(3, omp_get_max_threads())))
      .run();
}
