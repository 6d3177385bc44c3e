// The CPU backend: every operation of ops.h on host memory. Big products run in oneDNN, everything
// else in the kernels of this folder; threads are OpenMP's. One file per operation below.
#pragma once

#include <vector>

#include "ops/cpu/kernels/kernels.h"
#include "ops/cpu/matmul.h"
#include "ops/cpu/scratch.h"
#include "ops/ops.h"

namespace nibble {

class CpuOps final : public Ops {
 public:
  // Calls must come from one thread at a time. Results do not depend on the number of threads, but
  // for the last bits of oneDNN's products.
  CpuOps(Arena& arena, int threads, Arena* far = nullptr);

  std::string_view name() const override { return "cpu"; }
  bool has_data() const override { return true; }
  int64_t row_tile() const override { return cpu::row_tile; }
  int threads() const { return threads_; }

 private:
  void do_zero(Tensor y) override;
  void do_copy(Tensor y, Tensor x) override;
  void do_scatter_rows(Tensor y, Tensor x, Tensor rows) override;
  void do_convert(Tensor y, Tensor x) override;
  void do_upload(Tensor y, std::span<const std::byte> x) override;
  void do_download(std::span<std::byte> y, Tensor x) override;
  Ticket do_fetch(Tensor y, Tensor x) override;
  Ticket do_store(Tensor y, Tensor x) override;
  void do_wait(Ticket ticket) override;
  void do_idle(Tensor x) override;
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

  const cpu::ElementKernels& elements(DType compute) const {
    if (compute != DType::f32 && compute != DType::bf16)
      fail(ErrorKind::internal, "the CPU does not compute in {}", name_of(compute));
    return *kernels_.elements[static_cast<size_t>(compute)];
  }
  // One layer of a group: its rows of the prepared weights, if any, its columns of y, residual and
  // dy; t, the columns of x's tail.
  struct Layer {
    const LoraLinear& linear;
    Tensor prepared;
    int64_t first_row;
  };
  Tensor weight_of(const Layer& layer, Tensor scratch);  // C [out, in]; scratch if need be
  void forward(Tensor y, Tensor residual, Tensor x, Tensor t, const Layer& layer);
  void backward(Tensor dx, bool accumulate, Tensor dy, Tensor x, Tensor t, const Layer& layer);
  // y (=|+=) dropout(x), the mask being that of a whole [T, in] matrix whose rows from first_row on
  // these are; both dense.
  void dropout(Tensor y, bool accumulate, Tensor x, int64_t first_row,
               const LoraAdapter& lora) const;

  // A copy between near and far memory that nobody has waited for yet. It is done by the wait:
  // until then the system reads ahead.
  struct PendingCopy {
    int64_t number;
    Tensor to, from;
  };
  void copy_now(const PendingCopy& copy);

  const int threads_;
  const cpu::Kernels& kernels_;
  std::vector<PendingCopy> pending_;
  int64_t copies_ = 0;
  cpu::Matmul matmul_;
};

}  // namespace nibble
