// Ops: every operation of the training step, and nothing else. The step is written once against
// this class; ops/cpu computes it, ops/plan runs it dry.
//
// Conventions, for every operation:
//  - Activations are [tokens, features] in the compute dtype C (float32, bfloat16, on a GPU
//    float16); sums, norms, softmax and loss are accumulated in float32; parameters of the adapter,
//    their gradients and moments are float32.
//  - Outputs come first. '=' overwrites its output, '+=' adds to it. Unless said, an output may not
//    overlap an input.
//  - "dense" operands have stride == cols; others may be column ranges of wider matrices.
//  - Public functions check shapes and dtypes (ops/checks_*.cpp) and then call the backend's do_*;
//    a violation is a bug and throws ErrorKind::internal naming operation, operand, got, expected.
//  - Scratch comes from the arena within the call. Kernels are deterministic: the same call gives
//    the same bits.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "core/arena.h"
#include "core/tensor.h"
#include "quant/quantized_matrix.h"

namespace nibble {

// Documents laid end to end in one batch; attention never crosses from one to the next.
// offsets have documents + 1 entries. In training both are the same; in generation a document has
// more keys (the cache) than queries, and its queries are its last tokens.
struct Documents {
  std::span<const int32_t> query_offsets;
  std::span<const int32_t> key_offsets;
  Tensor offsets = {};  // i32 [2, documents + 1]: of queries and of keys, for the device
  int64_t count() const { return static_cast<int64_t>(query_offsets.size()) - 1; }
};

struct AttentionShape {
  int64_t heads = 0;
  int64_t kv_heads = 0;  // divides heads
  int64_t head_dim = 0;
  float scale = 0;     // softmax(scale * q k^T)
  int64_t window = 0;  // keys a query sees, itself included; 0: all before it
};

// One adapter of a linear layer: y += scaling * B A dropout(x)   (Hu et al. 2021, section 4.1).
struct LoraAdapter {
  Tensor a;  // f32 [r, in]
  Tensor b;  // f32 [out, r]
  float scaling = 0;
  float dropout = 0;         // probability of zeroing an element of x
  uint64_t dropout_key = 0;  // Philox key of this layer and run
  Tensor dropout_step;       // i32 [1, 2]: low and high half of the counter word that differs for
                             // every micro-batch; may be empty without dropout
  int64_t rank() const { return a.rows; }
  explicit operator bool() const { return static_cast<bool>(a); }
};

struct LoraGradient {
  Tensor a;  // f32 [r, in]
  Tensor b;  // f32 [out, r]
};

// One of the linear layers that read the same input.
struct LoraLinear {
  FrozenLinear weight;
  LoraAdapter lora;       // empty: the bare weight
  LoraGradient gradient;  // for backward, with the adapter
};

// Linear layers that read the same input (q, k and v; gate and up), computed as one. With W, A and
// B of all of them stacked, y = x W^T + t B^T is one product of [x | t] by [W | B]: so t has its
// place behind the columns of x, and the gradient of t behind those of dy.
struct LinearGroup {
  std::span<const LoraLinear> linears;
  Tensor prepared = {};   // what Ops::prepare made of the weights, or empty
  int64_t first_row = 0;  // of x in the batch that it is a part of: which dropout mask it has

  int64_t in_features() const { return linears.front().weight.in_features; }
  int64_t out_features() const;
  int64_t rank() const;  // of all adapters together
  // Columns behind x and dy: the ranks, rounded up to keep rows aligned; 0 without adapters.
  int64_t tail() const { return lora_tail(rank()); }
  static constexpr int64_t lora_tail(int64_t rank) { return (rank + 15) / 16 * 16; }
};

struct AdamWOptions {
  double learning_rate = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  int64_t step = 1;          // 1 at the first update
  float gradient_scale = 1;  // from clipping
};

// How the logits of linear_cross_entropy are held. Never changes a bit of the result.
enum class LogitsIn : uint8_t {
  rows,   // a chunk of rows with all their logits: two products of the head with each row
  tiles,  // one tile of the vocabulary at a time: three products, in far less memory
};

// 8-bit moments in blocks of 256 (Dettmers et al. 2022; docs/numerics.md).
struct Adam8bitState {
  Tensor m_codes, v_codes;    // u8 [1, n]
  Tensor m_absmax, v_absmax;  // f32 [1, ceil(n/256)]
};

// Told when each operation, or a named part of it, begins and ends on the device's queue. Spans
// nest.
class Probe {
 public:
  virtual ~Probe() = default;
  virtual void begin(const char* name) = 0;  // static storage
  virtual void end() = 0;
};

class Ops {
 public:
  // far: memory outside of the device's own, on the host beside a GPU and in a file beside the CPU;
  // null where none is used.
  explicit Ops(Arena& arena, Arena* far = nullptr) : arena_(arena), far_(far) {}
  virtual ~Ops() = default;
  Ops(const Ops&) = delete;
  Ops& operator=(const Ops&) = delete;

  Arena& arena() const { return arena_; }
  Arena& far() const;  // throws internal where there is none
  // Whether x lies in far memory. Operations read and write it in place, at the speed of the way to
  // it; what is used often is fetched.
  bool is_far(Tensor x) const;
  virtual std::string_view name() const = 0;
  // False for the plan backend: tensors have shapes and no contents.
  virtual bool has_data() const = 0;

  void set_probe(Probe* probe) { probe_ = probe; }  // null: none

  // Does `work`: operations without uploads, downloads and far copies, which depend on the host
  // only by `key`, which a caller gives to one kind of work. Where the same was done before, at the
  // same place of the arena, a backend may queue at once what it recorded then.
  using Key = std::vector<int64_t>;
  void repeat(const Key& key, const std::function<void()>& work);

  // ---- data movement
  void zero(Tensor y);
  void copy(Tensor y, Tensor x);  // y = x, same dtype, y may be strided
  // y.row(rows[i]) = x.row(i), same dtype, both may be strided. x: [T, D]; rows: i32 [1, T], each
  // another, checked against y.rows by the caller.
  void scatter_rows(Tensor y, Tensor x, Tensor rows);
  void convert(Tensor y, Tensor x);                     // y = round(x), among f32, bf16, f16; dense
  void upload(Tensor y, std::span<const std::byte> x);  // y = bytes from the host; dense
  void download(std::span<std::byte> y, Tensor x);      // waits for the device; dense

  // ---- copies beside the computation, each direction in a queue of its own
  // Names a copy; the default one has ended.
  struct Ticket {
    int64_t number = 0;  // of its queue, from 1
    bool outward = false;
  };
  // y = x: a near copy of far memory. Begins when what was queued before has been computed.
  Ticket fetch(Tensor y, Tensor x);
  // y = x: a far copy of near memory. Begins likewise.
  Ticket store(Tensor y, Tensor x);
  // What is queued from now on begins when the copy has ended: before y is read, before x is
  // written again, and before what was stored is fetched.
  void wait(Ticket ticket);
  // x, if it is far, is not used for a while: a hint.
  void idle(Tensor x) {
    if (x && is_far(x)) do_idle(x);
  }

  // ---- quantization (quant/nf4.h and quant/double_quant.h are the definition)
  // Codes and scales of consecutive whole blocks (the tensor's last block may be short).
  // x: f32, bf16 or f16 [1, n]; codes: u8 [1, ceil(n/2)]; absmax: f32 [1, ceil(n/block_size)].
  void quantize_blocks(Tensor codes, Tensor absmax, Tensor x, const QuantSpec& spec,
                       Tensor code_map);
  // q.scale_codes, q.nested_absmax, q.offset = double quantization of absmax f32 [1, blocks].
  // absmax is overwritten.
  void double_quantize(const QuantizedMatrix& q, Tensor absmax);
  void dequantize(Tensor w, const QuantizedMatrix& q);  // w: C or f32/bf16/f16 [rows, cols], dense

  // ---- the decoder
  // y = table[ids]. y: C [T, D]; table: C [V, D]; ids: i32 [1, T], checked against V by the caller.
  void embedding(Tensor y, Tensor table, Tensor ids);

  // cos, sin: f32 [T, rotary_dim/2] = factor * cos/sin(position * inverse_frequency[variant]).
  // positions, variants: i32 [1, T]; inverse_frequencies: f32 [variants, rotary_dim/2].
  void rope_tables(Tensor cos, Tensor sin, Tensor positions, Tensor variants,
                   Tensor inverse_frequencies, float factor);
  // Rotates pairs (i, i + rotary_dim/2) of the first rotary_dim channels of each head, in place.
  // x: C [T, heads * head_dim]. Backward is the rotation by the opposite angle (cos, sin as
  // forward).
  void rope_forward(Tensor x, Tensor cos, Tensor sin, int64_t head_dim);
  void rope_backward(Tensor dx, Tensor cos, Tensor sin, int64_t head_dim);

  // y = x * rstd * weight for each group of `weight.cols` columns; rstd = 1/sqrt(mean(x^2) + eps).
  // x, y: C [T, groups * n]; weight: f32 [1, n]; rstd: f32 [T, groups]. y may be x.
  void rms_norm_forward(Tensor y, Tensor rstd, Tensor x, Tensor weight, float epsilon);
  // dx += or = (by accumulate) the gradient of the above. dx may be dy when accumulate is false.
  void rms_norm_backward(Tensor dx, bool accumulate, Tensor dy, Tensor x, Tensor weight,
                         Tensor rstd);

  // Causal softmax attention within each document.
  // q, out: C [Tq, heads*head_dim]; k, v: C [Tk, kv_heads*head_dim]; lse: f32 [Tq, heads], the
  // natural logarithm of the softmax's denominator (Dao 2023, algorithm 1).
  void attention_forward(Tensor out, Tensor lse, Tensor q, Tensor k, Tensor v,
                         const Documents& documents, const AttentionShape& shape);
  // dq, dk, dv = gradients; P is recomputed from lse.
  void attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor dout, Tensor out, Tensor lse,
                          Tensor q, Tensor k, Tensor v, const Documents& documents,
                          const AttentionShape& shape);

  // y = silu(gate) * up. All C [T, F]; gate and up may be strided.
  void gated_silu_forward(Tensor y, Tensor gate, Tensor up);
  // dgate, dup = gradients; dgate may be gate, and dup may be up.
  void gated_silu_backward(Tensor dgate, Tensor dup, Tensor dy, Tensor gate, Tensor up);

  // Rows of a batch that are computed at a time by the layers that know no other row. The backend's
  // choice, the same whatever the memory, since it decides the last bits of products.
  virtual int64_t row_tile() const = 0;

  // The group with its weights made ready for several calls of the following two, of at most `rows`
  // rows each in the compute dtype: dequantized once, in memory of the arena that the caller's
  // scope returns. The calls give the same bits as without.
  LinearGroup prepare(const LinearGroup& group, int64_t rows, DType compute);

  // The linear layers of QLoRA. For each: y = residual + x W^T + bias + scaling * t B^T with
  // t = dropout(x) A^T. The outputs lie side by side.
  // y, residual: C [T, all out] (residual may be empty, or y itself); x: C [T, in + tail], of which
  // the tail is written: the t of each layer in turn, kept for backward.
  // With y empty only t is computed: what recomputation needs of a block's last product.
  void lora_linear_forward(Tensor y, Tensor residual, Tensor x, const LinearGroup& group);
  // dx = sum of dy W + dropout'(u A) with u = scaling * dy B; gradient.a += u^T dropout(x);
  // gradient.b += scaling * dy^T t. dx: C [T, in] dense, or empty (nothing below needs it);
  // dy: C [T, all out + tail], of which the tail is scratch; x as forward left it.
  void lora_linear_backward(Tensor dx, Tensor dy, Tensor x, const LinearGroup& group);

  // Head and loss, in chunks of rows and tiles of the vocabulary; the full logits never exist. A
  // far head is fetched tile by tile, which takes LogitsIn::tiles. loss: f32 [1, 1] += sum over
  // rows with label >= 0 of -log softmax(x W^T)[label]. dx: C [T, D] = gradient * d loss / dx, zero
  // where the label is -100; may be x, or empty. x: C [T, D] dense; head: C [V, D] dense; labels:
  // i32 [1, T] on the device; `trained` is the number of labels >= 0, known to the host; gradient:
  // f32 [1, 1], not read without dx.
  void linear_cross_entropy(Tensor loss, Tensor dx, Tensor x, Tensor head, Tensor labels,
                            int64_t trained, Tensor gradient, LogitsIn held = LogitsIn::rows);
  // logits: f32 [T, V] = x head^T. For generation and comparison only.
  void logits(Tensor logits, Tensor x, Tensor head);

  // ---- the optimizer, over f32 [1, n]
  void sum_of_squares(Tensor y, Tensor x);  // y: f32 [1, 1] = sum x^2 (accumulated in double)
  // torch.optim.AdamW's update; g is not changed.
  void adamw(Tensor p, Tensor g, Tensor m, Tensor v, const AdamWOptions& options);
  // bitsandbytes' 8-bit AdamW (docs/numerics.md, "Optimizer").
  void adamw_8bit(Tensor p, Tensor g, const Adam8bitState& state, const AdamWOptions& options);

 protected:
  // Brackets a part of an operation for the probe.
  class Span {
   public:
    Span(Probe* probe, const char* name) : probe_(probe) {
      if (probe_) probe_->begin(name);
    }
    ~Span() {
      if (probe_) probe_->end();
    }
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

   private:
    Probe* probe_;
  };
  Span span(const char* name) const { return {probe_, name}; }

 private:
  virtual void do_repeat(const Key&, const std::function<void()>& work) { work(); }
  virtual void do_zero(Tensor y) = 0;
  virtual void do_copy(Tensor y, Tensor x) = 0;
  virtual void do_scatter_rows(Tensor y, Tensor x, Tensor rows) = 0;
  virtual void do_convert(Tensor y, Tensor x) = 0;
  virtual void do_upload(Tensor y, std::span<const std::byte> x) = 0;
  virtual void do_download(std::span<std::byte> y, Tensor x) = 0;
  virtual Ticket do_fetch(Tensor y, Tensor x) = 0;
  virtual Ticket do_store(Tensor y, Tensor x) = 0;
  virtual void do_wait(Ticket ticket) = 0;
  virtual void do_idle(Tensor x) = 0;
  virtual void do_quantize_blocks(Tensor codes, Tensor absmax, Tensor x, const QuantSpec& spec,
                                  Tensor code_map) = 0;
  virtual void do_double_quantize(const QuantizedMatrix& q, Tensor absmax) = 0;
  virtual void do_dequantize(Tensor w, const QuantizedMatrix& q) = 0;
  virtual void do_embedding(Tensor y, Tensor table, Tensor ids) = 0;
  virtual void do_rope_tables(Tensor cos, Tensor sin, Tensor positions, Tensor variants,
                              Tensor inverse_frequencies, float factor) = 0;
  virtual void do_rope(Tensor x, Tensor cos, Tensor sin, int64_t head_dim, bool backward) = 0;
  virtual void do_rms_norm_forward(Tensor y, Tensor rstd, Tensor x, Tensor weight,
                                   float epsilon) = 0;
  virtual void do_rms_norm_backward(Tensor dx, bool accumulate, Tensor dy, Tensor x, Tensor weight,
                                    Tensor rstd) = 0;
  virtual void do_attention_forward(Tensor out, Tensor lse, Tensor q, Tensor k, Tensor v,
                                    const Documents& documents, const AttentionShape& shape) = 0;
  virtual void do_attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor dout, Tensor out,
                                     Tensor lse, Tensor q, Tensor k, Tensor v,
                                     const Documents& documents, const AttentionShape& shape) = 0;
  virtual void do_gated_silu_forward(Tensor y, Tensor gate, Tensor up) = 0;
  virtual void do_gated_silu_backward(Tensor dgate, Tensor dup, Tensor dy, Tensor gate,
                                      Tensor up) = 0;
  virtual Tensor do_prepare(const LinearGroup& group, int64_t rows, DType compute) = 0;
  virtual void do_lora_linear_forward(Tensor y, Tensor residual, Tensor x,
                                      const LinearGroup& group) = 0;
  virtual void do_lora_linear_backward(Tensor dx, Tensor dy, Tensor x,
                                       const LinearGroup& group) = 0;
  virtual void do_linear_cross_entropy(Tensor loss, Tensor dx, Tensor x, Tensor head, Tensor labels,
                                       int64_t trained, Tensor gradient, LogitsIn held) = 0;
  virtual void do_logits(Tensor logits, Tensor x, Tensor head) = 0;
  virtual void do_sum_of_squares(Tensor y, Tensor x) = 0;
  virtual void do_adamw(Tensor p, Tensor g, Tensor m, Tensor v, const AdamWOptions& options) = 0;
  virtual void do_adamw_8bit(Tensor p, Tensor g, const Adam8bitState& state,
                             const AdamWOptions& options) = 0;

  Arena& arena_;
  Arena* far_;
  Probe* probe_ = nullptr;
  bool repeating_ = false;
};

}  // namespace nibble
