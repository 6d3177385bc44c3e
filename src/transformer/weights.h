// The frozen weights of a decoder: what is laid out in the arena, and how a model folder fills it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/arena.h"
#include "files/model_dir.h"
#include "ops/ops.h"
#include "transformer/block_store.h"
#include "transformer/model_spec.h"
#include "transformer/policy.h"

namespace nibble {

struct WeightOptions {
  DType compute = DType::bf16;  // dtype of activations, embeddings, head and dense weights
  bool load_in_4bit = true;     // false: linear layers stay dense in the compute dtype
  QuantSpec quant;
  MemoryPolicy policy;  // what of them lies far; without blocks nothing
};

struct ModelWeights {
  Tensor embedding;            // C [vocab, hidden], near or far
  Tensor head;                 // C [vocab, hidden], near or far; the embedding itself when tied
  Tensor final_norm;           // f32 [1, hidden]
  Tensor inverse_frequencies;  // f32 [variants, rotary_dim/2]
  BlockStore blocks;
  int64_t quantized_linears = 0;
};

// A config.json with or without weights beside it: planning needs only the former.
struct ModelSource {
  ModelSpec spec;
  std::string path;
  std::optional<ModelDir> dir;  // absent: `path` is a config.json, or a folder without weights

  // Throws bad_input.
  static ModelSource open(const std::string& path, const std::vector<std::string>& ignored = {});
  // Random weights in the shape of a known architecture, "phi4mini". Throws usage for another name.
  static ModelSource synthesize(const std::string& architecture);
  const ModelDir& weights() const;  // throws bad_input when there are none
  // True when config.json says that the weights are stored quantized by bitsandbytes.
  bool prequantized = false;
  // Weights of a named architecture (transformer/architectures.h) are drawn at random.
  bool synthetic = false;
};

// Called after each tensor with the bytes read so far and in all.
using LoadProgress = std::function<void(uint64_t done, uint64_t total)>;

// Lays out all weights in the arena, or in far memory, and, when ops have data, fills them, tensor
// by tensor in pieces of a few MiB. Throws bad_input for a missing, surplus or misshapen tensor and
// for NaN or infinity.
ModelWeights load_weights(const ModelSource& source, const WeightOptions& options, Ops& ops,
                          const LoadProgress& progress = {});

// One linear layer alone, "model.layers.0.mlp.up_proj", laid out and filled as load_weights does
// it: for commands that stream a model. Its tables lie with it.
FrozenLinear load_linear(const ModelSource& source, const WeightOptions& options,
                         const std::string& path, const LinearSpec& spec, Ops& ops);

}  // namespace nibble
