#include "transformer/architectures.h"

#include <nlohmann/json.hpp>

#include "core/error.h"

namespace nibble {
namespace {

struct Architecture {
  const char* name;
  const char* model_type;
  int hidden, intermediate, layers, heads, kv_heads, head_dim, vocabulary;
  bool tied;
};

// From the models' published config.json.
constexpr Architecture architectures[] = {
    {"phi4mini", "phi3", 3072, 8192, 32, 24, 8, 128, 200064, true},
    {"llama8b", "llama", 4096, 14336, 32, 32, 8, 128, 128256, false},
    {"llama70b", "llama", 8192, 28672, 80, 64, 8, 128, 128256, false},
    {"llama3.2-1b", "llama", 2048, 8192, 16, 32, 8, 64, 128256, true},
    {"llama3.2-3b", "llama", 3072, 8192, 28, 24, 8, 128, 128256, true},
    {"qwen2.5-0.5b", "qwen2", 896, 4864, 24, 14, 2, 64, 151936, true},
    {"qwen3-0.6b", "qwen3", 1024, 3072, 28, 16, 8, 128, 151936, true},
    {"qwen3-1.7b", "qwen3", 2048, 6144, 28, 16, 8, 128, 151936, true},
    {"qwen3-4b", "qwen3", 2560, 9728, 36, 32, 8, 128, 151936, true},
    {"qwen3-8b", "qwen3", 4096, 12288, 36, 32, 8, 128, 151936, false},
    {"qwen3-14b", "qwen3", 5120, 17408, 40, 40, 8, 128, 151936, false},
    {"qwen3-32b", "qwen3", 5120, 25600, 64, 64, 8, 128, 151936, false},
    {"qwen2.5-7b", "qwen2", 3584, 18944, 28, 28, 4, 128, 152064, false},
    {"mistral7b", "mistral", 4096, 14336, 32, 32, 8, 128, 32768, false},
};

}  // namespace

std::vector<std::string> architecture_names() {
  std::vector<std::string> names;
  for (const Architecture& a : architectures) names.emplace_back(a.name);
  return names;
}

nlohmann::json architecture_config(const std::string& name) {
  for (const Architecture& a : architectures) {
    if (name != a.name) continue;
    nlohmann::json config = {{"model_type", a.model_type},
                             {"hidden_size", a.hidden},
                             {"intermediate_size", a.intermediate},
                             {"num_hidden_layers", a.layers},
                             {"num_attention_heads", a.heads},
                             {"num_key_value_heads", a.kv_heads},
                             {"vocab_size", a.vocabulary},
                             {"tie_word_embeddings", a.tied},
                             {"max_position_embeddings", 131072},
                             {"rms_norm_eps", 1e-5},
                             {"rope_theta", 10000.0},
                             {"hidden_act", "silu"},
                             {"torch_dtype", "bfloat16"}};
    if (a.model_type == std::string_view("phi3")) config["partial_rotary_factor"] = 0.75;
    if (a.heads * a.head_dim != a.hidden) config["head_dim"] = a.head_dim;
    return config;
  }
  fail(ErrorKind::usage, "architecture: got {}, expected one of {}", name,
       fmt::join(architecture_names(), ", "));
}

}  // namespace nibble
