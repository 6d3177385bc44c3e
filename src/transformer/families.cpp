// The model families: one row each, and the reading of config.json that all share.
//
// To add a family: add its row, its goldens in tools/make_model_goldens.py, and whatever field it
// brings that changes the computation to ModelSpec and to the block.
#include <algorithm>
#include <array>
#include <string_view>

#include "transformer/config_reader.h"
#include "transformer/model_spec.h"
#include "transformer/rope_spec.h"

namespace nibble {
namespace {

using Json = nlohmann::json;

enum class Windows {
  none,          // full attention, and a sliding_window in the file is not used
  all_layers,    // sliding_window holds for every layer
  upper_layers,  // ... if use_sliding_window, for layers from max_window_layers on
};

struct Family {
  std::string_view model_type;
  bool fused;     // qkv_proj and gate_up_proj
  bool qkv_bias;  // q, k, v always have a bias (no field says so)
  bool qk_norm;
  bool has_attention_bias;  // field attention_bias: q, k, v and o get one
  bool has_mlp_bias;
  Windows windows;
};

constexpr std::array families = {
    //      model_type  fused  qkv_bias qk_norm attention_bias mlp_bias windows
    Family{"llama", false, false, false, true, true, Windows::none},
    Family{"mistral", false, false, false, false, false, Windows::all_layers},
    Family{"qwen2", false, true, false, false, false, Windows::upper_layers},
    Family{"qwen3", false, false, true, true, false, Windows::upper_layers},
    Family{"phi3", true, false, false, false, false, Windows::all_layers},
};

// Fields that never change what is computed in training.
constexpr std::array harmless = std::to_array<std::string_view>({
    "_name_or_path",
    "add_cross_attention",
    "architectures",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "is_llama_config",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "model_type",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "prefix",
    "problem_type",
    "pruned_heads",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
});

// Fields read below or in rope_spec.cpp or by the loader.
constexpr std::array understood = std::to_array<std::string_view>({
    "attention_bias",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "layer_types",
    "max_position_embeddings",
    "max_window_layers",
    "mlp_bias",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "original_max_position_embeddings",
    "partial_rotary_factor",
    "quantization_config",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "sliding_window",
    "tie_word_embeddings",
    "use_sliding_window",
    "vocab_size",
});

// Fields that would change the computation unless they have the value given.
struct Neutral {
  std::string_view name;
  double value;
};
constexpr std::array neutral = {
    Neutral{"attention_dropout", 0},  Neutral{"embd_pdrop", 0},     Neutral{"resid_pdrop", 0},
    Neutral{"hidden_dropout", 0},     Neutral{"pretraining_tp", 1}, Neutral{"full_attn_mod", 1},
    Neutral{"interpolate_factor", 1}, Neutral{"lm_head_bias", 0},   Neutral{"rope_interleaved", 0},
};

template <typename Names>
bool contains(const Names& names, std::string_view name) {
  return std::ranges::find(names, name) != std::ranges::end(names);
}

bool says_nothing(const Json& value) {
  return value.is_null() || (value.is_boolean() && !value.get<bool>()) ||
         (value.is_structured() && value.empty());
}

void refuse_unknown_fields(const Json& config, const std::vector<std::string>& ignored) {
  for (const auto& [key, value] : config.items()) {
    if (contains(harmless, key) || contains(understood, key) || contains(ignored, key)) continue;
    const auto rule = std::ranges::find(neutral, std::string_view(key), &Neutral::name);
    const bool known = rule != neutral.end();
    const double number = value.is_number()    ? value.get<double>()
                          : value.is_boolean() ? static_cast<double>(value.get<bool>())
                                               : -1;
    if (says_nothing(value) || (known && number == rule->value)) continue;
    if (known)
      fail(ErrorKind::bad_input, "config.json: {}: got {}, and Nibble computes only {}", key,
           value.dump(), rule->value);
    fail(ErrorKind::bad_input,
         "config.json: unknown field {} = {} may change the computation; if it does not, pass "
         "--ignore_config_fields {}",
         key, value.dump(), key);
  }
}

const Family& family_of(const ConfigReader& config) {
  const std::string type = config.text_or("model_type", "");
  for (const Family& family : families)
    if (family.model_type == type) return family;
  fail(ErrorKind::bad_input,
       "config.json: model_type {} is not supported; supported are llama, mistral, qwen2, qwen3, "
       "phi3",
       type.empty() ? "(missing)" : type);
}

std::vector<int64_t> windows_of(const ConfigReader& config, const Family& family, int64_t layers) {
  std::vector<int64_t> windows(static_cast<size_t>(layers), 0);
  if (family.windows == Windows::none) return windows;
  const int64_t window = config.integer_or("sliding_window", 1, int64_t{1} << 40, 0);
  if (config.has("layer_types")) {
    const Json& types = config.at("layer_types");
    if (!types.is_array() || static_cast<int64_t>(types.size()) != layers)
      fail(ErrorKind::bad_input, "config.json: layer_types: expected a list of {} entries", layers);
    for (size_t i = 0; i < types.size(); ++i) {
      if (types[i] == "sliding_attention" && window > 0)
        windows[i] = window;
      else if (types[i] != "full_attention")
        fail(ErrorKind::bad_input,
             "config.json: layer_types[{}]: got {}, expected full_attention{}", i, types[i].dump(),
             window > 0 ? " or sliding_attention" : "");
    }
    return windows;
  }
  int64_t first = 0;
  if (family.windows == Windows::upper_layers) {
    if (!config.boolean_or("use_sliding_window", false)) return windows;
    first = config.integer_or("max_window_layers", 0, 1 << 20, 28);
  }
  for (int64_t i = first; i < layers; ++i) windows[static_cast<size_t>(i)] = window;
  return windows;
}

DType dtype_from(const ConfigReader& config) {
  const std::string name = config.text_or("torch_dtype", config.text_or("dtype", "float32"));
  for (DType type : {DType::f32, DType::f16, DType::bf16})
    if (name == name_of(type)) return type;
  fail(ErrorKind::bad_input,
       "config.json: torch_dtype: got {}, expected float32, float16 or bfloat16", name);
}

std::vector<LinearSpec> linears_of(const ModelSpec& s, bool qkv_bias, bool o_bias, bool mlp_bias) {
  std::vector<LinearSpec> linears;
  const int64_t d = s.hidden_size;
  if (s.fused_qkv) {
    linears.push_back({"self_attn.qkv_proj", s.q_size() + 2 * s.kv_size(), d, qkv_bias});
  } else {
    linears.push_back({"self_attn.q_proj", s.q_size(), d, qkv_bias});
    linears.push_back({"self_attn.k_proj", s.kv_size(), d, qkv_bias});
    linears.push_back({"self_attn.v_proj", s.kv_size(), d, qkv_bias});
  }
  linears.push_back({"self_attn.o_proj", d, s.q_size(), o_bias});
  if (s.fused_gate_up) {
    linears.push_back({"mlp.gate_up_proj", 2 * s.intermediate_size, d, mlp_bias});
  } else {
    linears.push_back({"mlp.gate_proj", s.intermediate_size, d, mlp_bias});
    linears.push_back({"mlp.up_proj", s.intermediate_size, d, mlp_bias});
  }
  linears.push_back({"mlp.down_proj", d, s.intermediate_size, mlp_bias});
  return linears;
}

}  // namespace

std::string module_path(int64_t layer, const std::string& name) {
  return fmt::format("model.layers.{}.{}", layer, name);
}

int64_t ModelSpec::linear_parameters() const {
  int64_t n = 0;
  for (const LinearSpec& linear : linears)
    n += linear.out_features * (linear.in_features + (linear.bias ? 1 : 0));
  return n * layers;
}

int64_t ModelSpec::embedding_parameters() const {
  return vocab_size * hidden_size * (tied_head ? 1 : 2);
}

int64_t ModelSpec::parameters() const {
  const int64_t norms = layers * (2 * hidden_size + (qk_norm ? 2 * head_dim : 0)) + hidden_size;
  return linear_parameters() + embedding_parameters() + norms;
}

ModelSpec model_spec_from_config(const Json& json, const std::vector<std::string>& ignored) {
  const ConfigReader config(json);
  const Family& family = family_of(config);
  refuse_unknown_fields(json, ignored);
  const std::string activation = config.text_or("hidden_act", "silu");
  if (activation != "silu")
    fail(ErrorKind::bad_input, "config.json: hidden_act: got {}, and Nibble computes only silu",
         activation);

  ModelSpec s;
  s.model_type = family.model_type;
  if (config.has("architectures") && config.at("architectures").is_array() &&
      !config.at("architectures").empty() && config.at("architectures")[0].is_string())
    s.architecture = config.at("architectures")[0].get<std::string>();
  constexpr int64_t max_size = 1 << 20;
  s.hidden_size = config.integer("hidden_size", 1, max_size);
  s.intermediate_size = config.integer("intermediate_size", 1, max_size);
  s.layers = config.integer("num_hidden_layers", 1, 1024);
  s.heads = config.integer("num_attention_heads", 1, 65536);
  s.kv_heads = config.integer_or("num_key_value_heads", 1, 65536, s.heads);
  if (s.heads % s.kv_heads != 0)
    fail(ErrorKind::bad_input,
         "config.json: num_key_value_heads {} does not divide num_attention_heads {}", s.kv_heads,
         s.heads);
  if (!config.has("head_dim") && s.hidden_size % s.heads != 0)
    fail(ErrorKind::bad_input, "config.json: num_attention_heads {} does not divide hidden_size {}",
         s.heads, s.hidden_size);
  s.head_dim = config.integer_or("head_dim", 1, 4096, s.hidden_size / s.heads);
  s.vocab_size = config.integer("vocab_size", 1, 4'000'000);
  s.max_positions = config.integer_or("max_position_embeddings", 1, 1 << 30, 2048);
  s.rms_norm_eps = static_cast<float>(config.number_or("rms_norm_eps", 0, 1, 1e-6));
  s.tied_head = config.boolean_or("tie_word_embeddings", false);
  s.qk_norm = family.qk_norm;
  s.fused_qkv = s.fused_gate_up = family.fused;
  s.dtype = dtype_from(config);
  s.windows = windows_of(config, family, s.layers);
  s.rope = rope_spec_from_config(json, s.head_dim, s.max_positions);

  const bool attention_bias = config.boolean_or("attention_bias", false);
  const bool mlp_bias = config.boolean_or("mlp_bias", false);
  if (attention_bias && !family.has_attention_bias)
    fail(ErrorKind::bad_input, "config.json: attention_bias is true, which {} does not have",
         s.model_type);
  if (mlp_bias && !family.has_mlp_bias)
    fail(ErrorKind::bad_input, "config.json: mlp_bias is true, which {} does not have",
         s.model_type);
  s.linears = linears_of(s, family.qkv_bias || attention_bias, attention_bias, mlp_bias);
  return s;
}

}  // namespace nibble
