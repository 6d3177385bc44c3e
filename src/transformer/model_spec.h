// What a decoder computes, read from config.json. One table row describes a family
// (transformer/families.cpp); everything below works from the spec and never asks for the family.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/dtype.h"

namespace nibble {

// Rotary position embedding. Every scaling method Nibble knows is a list of inverse frequencies
// and a factor on cos and sin.
struct RopeSpec {
  // [1 or 2][rotary_dim/2] radians per position. With two (longrope: short, long) a document longer
  // than long_threshold tokens uses the second.
  std::vector<std::vector<float>> inverse_frequencies;
  float factor = 1;
  int64_t long_threshold = 0;
  std::string type = "default";  // default, llama3, longrope; for display

  int64_t rotary_dim() const { return 2 * static_cast<int64_t>(inverse_frequencies[0].size()); }
  int variant_for(int64_t document_length) const {
    return inverse_frequencies.size() > 1 && document_length > long_threshold ? 1 : 0;
  }
};

// One linear layer of a block, by its name in the file below "model.layers.<i>.".
struct LinearSpec {
  std::string name;
  int64_t out_features = 0;
  int64_t in_features = 0;
  bool bias = false;
};

struct ModelSpec {
  std::string model_type;
  std::string architecture;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocab_size = 0;
  int64_t max_positions = 0;
  float rms_norm_eps = 1e-6f;
  bool tied_head = false;
  bool qk_norm = false;          // RMSNorm of each query and key head (Qwen3)
  bool fused_qkv = false;        // one projection for q, k and v (Phi-3)
  bool fused_gate_up = false;    // one projection for gate and up (Phi-3)
  DType dtype = DType::bf16;     // what config.json says the weights are stored in
  std::vector<int64_t> windows;  // per layer; 0: full attention
  RopeSpec rope;

  // In the order of computation: q, k, v (or qkv), o, gate, up (or gate_up), down.
  std::vector<LinearSpec> linears;

  int64_t q_size() const { return heads * head_dim; }
  int64_t kv_size() const { return kv_heads * head_dim; }
  // Indices into linears.
  int qkv_count() const { return fused_qkv ? 1 : 3; }
  int gate_up_count() const { return fused_gate_up ? 1 : 2; }
  int o_index() const { return qkv_count(); }
  int gate_index() const { return qkv_count() + 1; }
  int down_index() const { return qkv_count() + 1 + gate_up_count(); }

  int64_t linear_parameters() const;     // of all blocks, weights and biases
  int64_t embedding_parameters() const;  // embedding and, if not tied, head
  int64_t parameters() const;            // everything, tied weights once
};

// "model.layers.<layer>.<name>", the module path that PEFT matches and files are named by.
std::string module_path(int64_t layer, const std::string& name);

// Reads config.json. Throws bad_input naming the field for a model_type, field or value that
// Nibble does not compute; fields in `ignored` are taken to be harmless.
ModelSpec model_spec_from_config(const nlohmann::json& config,
                                 const std::vector<std::string>& ignored = {});

}  // namespace nibble
