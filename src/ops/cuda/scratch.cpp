#include "ops/cuda/scratch.h"

#include <algorithm>
#include <array>

#include "ops/cuda/attention_scratch.h"

namespace nibble::cuda {
namespace {

Tensor take(Arena& arena, int64_t rows, int64_t cols, DType dtype, const char* name) {
  return arena.tensor(rows, cols, dtype, MemoryUse::working_set, name);
}

// A single dense weight without an adapter is used where it lies.
bool serves_itself(const LinearGroup& group) {
  return group.linears.size() == 1 && group.tail() == 0 && group.linears[0].weight.dense;
}

// cuDNN reads rows from 16-byte addresses.
bool aligned(std::span<const Tensor> matrices) {
  return std::ranges::all_of(matrices, [](Tensor x) {
    return reinterpret_cast<uintptr_t>(x.data) % 16 == 0 &&
           x.stride * static_cast<int64_t>(size_of(x.dtype)) % 16 == 0;
  });
}

}  // namespace

bool has_dropout(const LinearGroup& group) {
  return std::ranges::any_of(group.linears, [](const LoraLinear& linear) {
    return linear.lora && linear.lora.dropout > 0;
  });
}

bool few_tokens(int64_t tokens, const LinearGroup& group) {
  return tokens <= most_few_tokens && group.linears.size() <= most_few_layers &&
         !has_dropout(group) && std::ranges::all_of(group.linears, [](const LoraLinear& linear) {
           return static_cast<bool>(linear.weight.quantized);
         });
}

Tensor matmul_workspace(Arena& arena) {
  return take(arena, 1, int64_t{32} << 20, DType::u8, "matmul workspace");
}

LoraLinearForwardScratch LoraLinearForwardScratch::take(Arena& arena, int64_t tokens, DType compute,
                                                        bool has_y, const LinearGroup& group) {
  LoraLinearForwardScratch s;
  if (few_tokens(tokens, group)) return s;
  const int64_t in = group.in_features(), out = group.out_features(), tail = group.tail();
  if (has_y && !serves_itself(group))
    s.weight = cuda::take(arena, out, in + tail, compute, "dequantized weight");
  if (has_y && group.linears.size() > 1 &&
      std::ranges::any_of(group.linears, [](const LoraLinear& l) { return bool{l.weight.bias}; }))
    s.bias = cuda::take(arena, 1, out, compute, "biases");
  if (tail > 0) s.a = cuda::take(arena, tail, in, compute, "adapter A");
  if (has_dropout(group)) s.x = cuda::take(arena, tokens, in, compute, "input after dropout");
  s.workspace = matmul_workspace(arena);
  return s;
}

LoraLinearBackwardScratch LoraLinearBackwardScratch::take(Arena& arena, int64_t tokens,
                                                          DType compute, bool has_dx,
                                                          const LinearGroup& group) {
  LoraLinearBackwardScratch s;
  const int64_t in = group.in_features(), out = group.out_features(), tail = group.tail();
  if (has_dx && !serves_itself(group))
    s.weight = cuda::take(arena, out + tail, in, compute, "dequantized weight");
  if (tail > 0) {
    s.b = cuda::take(arena, out, tail, compute, "adapter B");
    s.gradient_a = cuda::take(arena, tail, in, DType::f32, "gradient of A");
    s.gradient_b = cuda::take(arena, out, tail, DType::f32, "gradient of B");
  }
  if (has_dropout(group)) s.x = cuda::take(arena, tokens, in, compute, "input after dropout");
  s.workspace = matmul_workspace(arena);
  return s;
}

int64_t longest_of(std::span<const int32_t> offsets) {
  int32_t most = 0;
  for (size_t i = 1; i < offsets.size(); ++i) most = std::max(most, offsets[i] - offsets[i - 1]);
  return most;
}

AttentionScratch AttentionScratch::take_forward(Arena& arena, Tensor out, Tensor q, Tensor k,
                                                Tensor v, const Documents& documents,
                                                const AttentionShape& shape) {
  AttentionScratch s;
  s.offsets = cuda::take(arena, 2, documents.count() + 1, DType::i32, "document offsets");
  if (cudnn_supports_forward(q.dtype, q.rows, k.rows, shape) && aligned(std::array{out, q, k, v}))
    s.cudnn = cuda::take(
        arena, 1,
        cudnn_forward_bytes(documents.count(), q.rows, longest_of(documents.query_offsets)),
        DType::u8, "cuDNN attention");
  return s;
}

AttentionScratch AttentionScratch::take_backward(Arena& arena, std::span<const Tensor> matrices,
                                                 const Documents& documents,
                                                 const AttentionShape& shape) {
  AttentionScratch s;
  s.offsets = cuda::take(arena, 2, documents.count() + 1, DType::i32, "document offsets");
  const int64_t longest = longest_of(documents.query_offsets);
  const Tensor &q = matrices[0], &k = matrices[1];
  if (cudnn_supports_backward(q.dtype, q.rows, k.rows, documents.count(), longest, shape) &&
      aligned(matrices)) {
    s.cudnn = cuda::take(arena, 1, cudnn_backward_bytes(documents.count(), longest, shape),
                         DType::u8, "cuDNN attention");
    s.in_blocks = cudnn_backward_part(documents.count(), longest, shape).rows < longest;
  } else {
    s.delta = cuda::take(arena, q.rows, shape.heads, DType::f32, "attention delta");
  }
  return s;
}

CrossEntropyScratch CrossEntropyScratch::take(Arena& arena, int64_t trained, int64_t features,
                                              int64_t vocabulary, DType compute) {
  // Enough rows to fill the device with tiles, in both products.
  constexpr int64_t most_rows = 1024;
  constexpr int64_t most_bytes = int64_t{1} << 30;
  const int64_t rows = std::clamp<int64_t>(most_bytes / (4 * vocabulary), 1,
                                           std::min(most_rows, std::max<int64_t>(trained, 1)));
  CrossEntropyScratch s;
  s.rows = cuda::take(arena, 1, std::max<int64_t>(trained, 1), DType::i32, "trained rows");
  s.targets = cuda::take(arena, 1, std::max<int64_t>(trained, 1), DType::i32, "targets");
  s.x = cuda::take(arena, rows, features, compute, "head input");
  s.logits = cuda::take(arena, rows, vocabulary, DType::f32, "logits");
  s.losses = cuda::take(arena, 1, rows, DType::f32, "losses");
  s.workspace = matmul_workspace(arena);
  return s;
}

Tensor double_partials(Arena& arena, int64_t n) {
  return take(arena, 1, 8 * std::max<int64_t>(n, 1), DType::u8, "partial sums");
}

Tensor moment_maps(Arena& arena) { return take(arena, 2, 256, DType::f32, "moment maps"); }

}  // namespace nibble::cuda
