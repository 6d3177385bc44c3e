// A base model and an adapter -> one folder of dense weights, W + scaling * B A, streamed tensor by
// tensor and checked against the live adapter before it appears.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "transformer/inference_model.h"

namespace nibble {

// What the adapter is added to: the weights as stored, or what 4-bit training saw of them,
// dequantize(quantize(W)).
enum class MergeInto { original, dequantized };

struct MergeOptions {
  MergeInto into = MergeInto::original;
  QuantSpec quant;              // for dequantized; a folder in 4 bits brings its own
  DType compute = DType::bf16;  // of the comparison
  std::vector<std::string> ignore_config_fields;  // as the source was opened with
  std::string output_dir;
  bool overwrite_output_dir = false;
  uint64_t max_shard_bytes = 5'000'000'000;
  int64_t compare_prompts = 32;  // 0: do not compare
  int threads = 1;
};

// Of the logits after the last token of each prompt.
struct LogitDifference {
  double largest = 0, mean = 0;  // absolute
  double largest_logit = 0;      // of the live model, for scale
  int64_t prompts = 0, prompt_tokens = 0;
};

struct MergeResult {
  std::filesystem::path path;
  int64_t merged_linears = 0;  // with an adapter
  int64_t linears = 0;
  uint64_t bytes = 0;
  size_t shards = 0;
  size_t peak_bytes = 0;  // the greater of streaming and comparing
  LogitDifference difference;
};

struct MergeEvents {
  LoadProgress merging, comparing;
};

// The merged weight is computed in float32 and rounded once, to the dtype in which the base stores
// it (for a folder in 4 bits, the dtype that was quantized). Everything else is copied. The live
// model is the base as `into` says, with the adapter beside it. Throws usage for `original` into a
// folder that holds only 4-bit weights, diverged when merged logits are not finite.
MergeResult merge_model(const ModelSource& source, const AdapterSource& adapter,
                        const MergeOptions& options, const MergeEvents& events = {});

}  // namespace nibble
