// PEFT LoRA adapter folders: adapter_config.json and adapter_model.safetensors.
// Reads what PEFT 0.20 writes, writes the subset that every PEFT reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "files/atomic_dir.h"
#include "files/safetensors.h"

namespace nibble {

// The fields of LoraConfig that Nibble computes with; defaults are PEFT's.
struct AdapterConfig {
  std::string base_model_name_or_path;
  uint64_t r = 8;
  double lora_alpha = 8;  // an integer in most files, but a float is legal
  double lora_dropout = 0;
  bool use_rslora = false;  // scaling alpha / sqrt(r) instead of alpha / r
  // Exactly one of the two is given: names (a module matches if it equals one or ends with
  // "." + one), or one regular expression for the full module path ("all-linear" is a word).
  std::vector<std::string> target_modules;
  std::string target_regex;
  std::vector<std::string> exclude_modules;
  std::string exclude_regex;
  std::map<std::string, uint64_t> rank_pattern;
  std::map<std::string, double> alpha_pattern;
  std::optional<std::vector<uint64_t>> layers_to_transform;
  std::vector<std::string> layers_pattern;
  std::string task_type = "CAUSAL_LM";
};

// Throws Error(bad_input) for a field out of range, and for one that changes the mathematics and
// is not supported (use_dora, bias, modules_to_save, ...). Fields unknown to PEFT 0.20 are named
// in `warnings`.
AdapterConfig adapter_config_from_json(const nlohmann::json& json, const std::string& who,
                                       std::vector<std::string>& warnings);
// adapter_config.json as text: keys sorted, indent 2.
std::string adapter_config_text(const AdapterConfig& config);

// One factor of one module, fp32 as PEFT stores by default.
struct AdapterTensor {
  std::string module;  // "model.layers.0.self_attn.q_proj"
  char factor = 'A';   // 'A' [r, in] or 'B' [out, r]
  std::vector<uint64_t> shape;
  std::vector<float> values;

  // "base_model.model.<module>.lora_A.weight"
  std::string key() const;
};

struct Adapter {
  AdapterConfig config;
  std::vector<AdapterTensor> tensors;  // sorted by module, A before B; complete pairs
  std::map<std::string, std::string> metadata;
  std::vector<std::string> warnings;
};

// Reads and validates a whole adapter folder (F32, F16 or BF16 tensors, widened to fp32): keys in
// complete A/B pairs, 2-D, non-empty, finite, with a rank that the configuration names (which
// module a rank_pattern matches is decided in lora/).
Adapter read_adapter(const std::filesystem::path& folder);

// Writes the two files into `folder` in dtype f32, bf16 or f16; the caller adds side files and
// commits. The metadata is added to {"format": "pt"}. Tensors are validated as by read_adapter;
// a value that is not finite in `dtype` is Error(diverged).
void write_adapter(AtomicDir& folder, const Adapter& adapter, DType dtype = DType::f32);

}  // namespace nibble
