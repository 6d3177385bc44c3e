// The CUDA backend: every operation of ops.h on device memory, queued on one stream. Big products
// run in cuBLASLt, attention in cuDNN where it can (cudnn_attention.h says where), everything else
// in the kernels of this folder. One file per group of operations below.
#pragma once

#include <cuda_runtime_api.h>

#include <array>

#include "core/buffer.h"
#include "ops/cuda/cudnn_attention.h"
#include "ops/cuda/device.h"
#include "ops/cuda/far_copies.h"
#include "ops/cuda/kernels/kernels.h"
#include "ops/cuda/matmul.h"
#include "ops/cuda/recording.h"
#include "ops/cuda/scratch.h"
#include "ops/ops.h"

namespace nibble {

class CudaOps final : public Ops {
 public:
  // The arena lies in memory of this device. Calls must come from one thread at a time.
  // Far memory is pinned.
  CudaOps(Arena& arena, int device, Arena* far = nullptr);

  std::string_view name() const override { return "cuda"; }
  bool has_data() const override { return true; }
  int64_t row_tile() const override { return cuda::row_tile; }
  cudaStream_t stream() const { return stream_; }

 private:
  void do_repeat(const Key& key, const std::function<void()>& work) override;
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

  class HeadReader;  // linear_cross_entropy.cpp

  // lora_linear.cpp: fills the stacked weights of a group; `weights`: the frozen ones, too.
  void stack(const cuda::StackedWeights& stacked, const LinearGroup& group, bool weights,
             cudaStream_t stream);
  // The group's prepared weights, once they are there; or `scratch`, filled.
  cuda::StackedWeights stacked_weights(const LinearGroup& group, Tensor scratch, bool weights);
  void few_tokens_forward(Tensor y, Tensor residual, Tensor x, const LinearGroup& group);
  void dropout(Tensor y, bool accumulate, Tensor x, int64_t first_row, const LoraAdapter& lora);
  void zero_columns(Tensor y, cudaStream_t stream);
  void copy_on(Tensor y, Tensor x, cudaStream_t stream);

  // Weights that are dequantized beside the computation, and what tells that they are there.
  struct Preparing {
    void* weights = nullptr;  // null: waited for
    cuda::Event begin, end;
  };

  // The stream goes on when those weights are there.
  void end(Preparing& preparing);
  void end_preparing();  // of all, used or not

  cuda::Stream stream_, side_;
  cuda::FarCopies copies_;
  std::array<Preparing, 8> preparing_;
  size_t next_preparing_ = 0;
  cuda::Staging staging_;
  cuda::Matmul matmul_;
  cuda::CudnnAttention attention_;
  cuda::Recording recording_;
};

}  // namespace nibble
