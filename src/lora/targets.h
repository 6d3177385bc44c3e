// Which linear layers get an adapter, of which rank and scaling: PEFT's matching rules
// (docs/numerics.md, "LoRA"), with the loud errors PEFT lacks.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "files/adapter_dir.h"

namespace nibble {

// A linear layer that may be adapted.
struct LoraModule {
  std::string path;  // "model.layers.0.self_attn.q_proj"
  int64_t layer = 0;
  int64_t out_features = 0;
  int64_t in_features = 0;
};

// What one module gets; rank 0: no adapter.
struct LoraTarget {
  int64_t rank = 0;
  float scaling = 0;  // alpha / r, or alpha / sqrt(r) with rsLoRA
};

struct LoraTargets {
  std::vector<LoraTarget> modules;              // as the modules given
  std::map<std::string, int64_t> match_counts;  // requested name -> modules it matched
};

// Throws usage when a requested name, pattern key or layer matches nothing, or nothing matches.
LoraTargets match_targets(const AdapterConfig& config, const std::vector<LoraModule>& modules);

// Elements of all A and B: rank * (in + out) for each module.
int64_t trainable_parameters(const LoraTargets& targets, const std::vector<LoraModule>& modules);

// As PEFT's print_trainable_parameters: "trainable params: 23,068,672 || all params: 3,859,090,432
// || trainable%: 0.5978", in one line. All are those of the base and the trainable ones.
std::string trainable_line(int64_t trainable, int64_t base_parameters);
// 23068672 -> "23,068,672".
std::string with_separators(int64_t number);

}  // namespace nibble
