// Attention by cuDNN's fused kernels, through the graphs of cudnn-frontend: causal, within
// documents, with grouped heads and an optional window. attention_scratch.h says where it applies
// and how much memory it may use.
//
// A graph is built once for each shape, dtype and set of strides and kept; lengths and offsets of
// documents are data. lse lies as everywhere, f32 [tokens, heads]. Two runs give the same bits.
//
// cuDNN reads rows in 16-byte chunks. Operands whose rows do not divide into such are computed by
// the kernels of kernels.h instead, in the same memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>

#include "ops/cuda/kernels/kernels.h"

namespace nibble::cuda {

class CudnnAttention {
 public:
  // Work is queued on the stream. Throws no_resources when cuDNN cannot be initialized.
  explicit CudnnAttention(cudaStream_t stream);
  ~CudnnAttention();

  // workspace: device memory, at a multiple of 256. Throws internal when a graph needs more than
  // `bytes`, io with cuDNN's message when a call fails.
  void forward(const Matrix& out, float* lse, const AttentionProblem& a, void* workspace,
               int64_t bytes);
  // The documents must be a dense batch.
  void backward(const Matrix& dq, const Matrix& dk, const Matrix& dv, const Matrix& dout,
                const Matrix& out, const float* lse, const AttentionProblem& a, void* workspace,
                int64_t bytes);

 private:
  struct Graphs;
  std::unique_ptr<Graphs> graphs_;
  cudaStream_t stream_;
};

}  // namespace nibble::cuda
