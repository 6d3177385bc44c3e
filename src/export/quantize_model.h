// A 16-bit or 32-bit model folder -> a bitsandbytes 4-bit one, which transformers loads and `train`
// reads. Layout: docs/formats.md, "Pre-quantized folders".
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "transformer/weights.h"

namespace nibble {

struct QuantizeOptions {
  QuantSpec quant;
  std::string output_dir;
  bool overwrite_output_dir = false;
  uint64_t max_shard_bytes = 5'000'000'000;
  int threads = 1;
};

struct QuantizeResult {
  std::filesystem::path path;
  int64_t quantized_linears = 0;
  uint64_t source_bytes = 0, bytes = 0;  // of all tensors
  size_t shards = 0;
  size_t peak_bytes = 0;  // of the reservation: one tensor's
};

// Linear layers of the blocks become 4-bit; embeddings, head, norms and biases are copied. Memory:
// the largest linear layer in 4 bits, and pieces of a few MiB. Throws usage for a source that is
// quantized already, Error(io) when the disk is too small; the output appears whole or not at all.
QuantizeResult quantize_model(const ModelSource& source, const QuantizeOptions& options,
                              const LoadProgress& progress = {});

}  // namespace nibble
