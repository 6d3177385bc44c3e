// The plan backend: the training step run dry. Tensors have addresses but no memory; each operation
// takes the scratch that the planned backend would take, counts its FLOPs and bytes, and advances a
// clock.
#pragma once

#include <vector>

#include "ops/ops.h"

namespace nibble {

// What the planned device does in a second.
struct DeviceProfile {
  bool cuda = false;              // whose backend's scratch is planned: CUDA's or the CPU's
  int threads = 1;                // of the CPU
  double product_flops = 1e11;    // matrix products of a decoder's shapes in the compute dtype
  double attention_flops = 3e10;  // Nibble's tiled attention
  double memory_bytes = 1e10;     // streaming reads and writes
  double link_bytes = 1e9;        // to far memory, each way
  double launch_seconds = 0;      // the least that one kernel takes; 0 on the CPU
  double product_ceiling = 0;     // of a large square product; only where it was measured
};

struct PlanCosts {
  double product_flops = 0;  // matrix products, adapter included
  double attention_flops = 0;
  double bytes = 0;                  // moved by everything that is not a matrix product
  double link_in = 0, link_out = 0;  // bytes from and to far memory
  double stalled = 0;                // of the seconds, those that computation waits for copies
  double computing = 0;              // of the seconds, those of products and attention
  double seconds = 0;
};

class PlanOps final : public Ops {
 public:
  PlanOps(Arena& arena, const DeviceProfile& profile, Arena* far = nullptr)
      : Ops(arena, far), profile_(profile) {}

  std::string_view name() const override { return "plan"; }
  bool has_data() const override { return false; }
  int64_t row_tile() const override;

  // Since construction, or since the last call of reset_costs.
  const PlanCosts& costs() const { return costs_; }
  void reset_costs();

 private:
  void product(double m, double n, double k);
  void attention(double flops, double rate);  // relative to the profile's
  void move(double bytes);
  void launch(int kernels);
  void link(double bytes_in, double bytes_out);  // read and written in place
  void wait_until(double time);
  void dequantized(const FrozenLinear& w);
  double dequantizing_seconds(const LinearGroup& group) const;
  void linear_scratch(bool backward, bool has_output, Tensor x, const LinearGroup& group);

  void do_zero(Tensor y) override;
  void do_copy(Tensor y, Tensor x) override;
  void do_scatter_rows(Tensor y, Tensor x, Tensor rows) override;
  void do_convert(Tensor y, Tensor x) override;
  void do_upload(Tensor y, std::span<const std::byte> x) override;
  void do_download(std::span<std::byte> y, Tensor x) override;
  Ticket do_fetch(Tensor y, Tensor x) override;
  Ticket do_store(Tensor y, Tensor x) override;
  void do_wait(Ticket ticket) override;
  void do_idle(Tensor) override {}
  void do_quantize_blocks(Tensor codes, Tensor absmax, Tensor x, const QuantSpec& spec,
                          Tensor code_map) override;
  void do_double_quantize(const QuantizedMatrix& q, Tensor absmax) override;
  void do_dequantize(Tensor w, const QuantizedMatrix& q) override;
  void do_embedding(Tensor y, Tensor table, Tensor ids) override;
  void do_rope_tables(Tensor cos, Tensor sin, Tensor positions, Tensor variants,
                      Tensor inverse_frequencies, float factor) override;
  void do_rope(Tensor x, Tensor cos, Tensor sin, int64_t head_dim, bool backward) override;
  void do_rms_norm_forward(Tensor y, Tensor rstd, Tensor x, Tensor weight, float epsilon) override;
  void do_rms_norm_backward(Tensor dx, bool accumulate, Tensor dy, Tensor x, Tensor weight,
                            Tensor rstd) override;
  void do_attention_forward(Tensor out, Tensor lse, Tensor q, Tensor k, Tensor v,
                            const Documents& documents, const AttentionShape& shape) override;
  void do_attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor dout, Tensor out, Tensor lse,
                             Tensor q, Tensor k, Tensor v, const Documents& documents,
                             const AttentionShape& shape) override;
  void do_gated_silu_forward(Tensor y, Tensor gate, Tensor up) override;
  void do_gated_silu_backward(Tensor dgate, Tensor dup, Tensor dy, Tensor gate, Tensor up) override;
  Tensor do_prepare(const LinearGroup& group, int64_t rows, DType compute) override;
  void do_lora_linear_forward(Tensor y, Tensor residual, Tensor x,
                              const LinearGroup& group) override;
  void do_lora_linear_backward(Tensor dx, Tensor dy, Tensor x, const LinearGroup& group) override;
  void do_linear_cross_entropy(Tensor loss, Tensor dx, Tensor x, Tensor head, Tensor labels,
                               int64_t trained, Tensor gradient, LogitsIn held) override;
  void do_logits(Tensor logits, Tensor x, Tensor head) override;
  void do_sum_of_squares(Tensor y, Tensor x) override;
  void do_adamw(Tensor p, Tensor g, Tensor m, Tensor v, const AdamWOptions& options) override;
  void do_adamw_8bit(Tensor p, Tensor g, const Adam8bitState& state,
                     const AdamWOptions& options) override;

  // A queue of copies: when each has ended, on the clock that is costs_.seconds.
  struct Queue {
    std::vector<double> ends;  // by number, from 1
    double end() const { return ends.empty() ? 0 : ends.back(); }
  };
  Ticket copy(Queue& queue, double bytes, bool outward);

  DeviceProfile profile_;
  PlanCosts costs_;
  Queue inward_, outward_;
  double prepared_ = 0;  // when the weights prepared last are there
};

}  // namespace nibble
