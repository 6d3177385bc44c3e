// Attention by cuDNN's fused kernels, through the graphs of cudnn-frontend: causal, within
// documents, with grouped heads and an optional window. attention_scratch.h says where it applies
// and how much memory it may use.
//
// Backward of a document too long for one call is computed block by block: probabilities are
// exp(score - lse), and of lse and of out, which delta follows from, a block sees the whole rows'.
// So what a block gives is its exact share of the gradients. Shares, rounded to the compute dtype,
// are added in float32, always in the same order, and rounded once more.
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

#include "ops/cuda/attention_scratch.h"
#include "ops/cuda/kernels/kernels.h"
#include "ops/cuda/pieces.h"

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
                int64_t bytes, const CudnnLimits& limits = {});

 private:
  struct Graphs;
  // What backward reads and writes, or a call's part of it.
  struct Operands {
    Matrix q, out, dout, dq;  // rows of queries, columns of query heads
    Matrix k, v, dk, dv;      // of keys

    Operands of_heads(int64_t first, int64_t count, const AttentionProblem& a) const;  // of k
    Operands of_rows(int64_t query, int64_t queries, int64_t key, int64_t keys) const;
  };
  // statistics: f32 [documents, heads, queries of a document]. Without `causal` every query sees
  // every key.
  void call_backward(const Operands& operands, const float* statistics, int64_t documents,
                     bool causal, const AttentionProblem& a, Pieces pieces);
  // Of one document, all of whose blocks' statistics follow each other: f32 [heads, queries] of all
  // heads, of which `operands` has those from query_head on. In cudnn_attention_blocks.cpp.
  void backward_in_blocks(const Operands& operands, const float* statistics, int64_t query_head,
                          int64_t rows, const AttentionProblem& a, Pieces pieces);

  std::unique_ptr<Graphs> graphs_;
  cudaStream_t stream_;
};

}  // namespace nibble::cuda
