// The sizes of a model before and after quantization, and what an adapter would add.
#pragma once

#include <cstdint>

#include "lora/targets.h"
#include "transformer/model.h"
#include "transformer/weights.h"

namespace nibble {

struct ModelSummary {
  int64_t linears = 0;         // linear layers in all blocks
  int64_t linear_weights = 0;  // their elements, biases aside
  uint64_t stored_bytes = 0;   // of all tensors; from config.json where there are no weights
  // After quantization: 4-bit codes and scales, embeddings and head in the compute dtype, norms in
  // float32, biases in the compute dtype. Without load_in_4bit the linear layers are in the compute
  // dtype.
  int64_t codes_and_scales_bytes = 0, embedding_bytes = 0, rest_bytes = 0;
  int64_t quantized_bytes = 0;  // the sum
  LoraTargets targets;
  int64_t trainable = 0;

  double bits_per_weight() const {
    return 8.0 * static_cast<double>(codes_and_scales_bytes) / static_cast<double>(linear_weights);
  }
};

// Throws usage for targets that match nothing.
ModelSummary summarize(const ModelSource& source, const WeightOptions& options,
                       const AdapterConfig& lora);

}  // namespace nibble
