// adapter_config.json <-> AdapterConfig.
#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "files/adapter_dir.h"
#include "files/json_scanner.h"

namespace nibble {
namespace {

using nlohmann::json;

constexpr uint64_t max_rank = 65'536;

// Fields that change the mathematics when set to anything but null, false or empty.
constexpr std::array unsupported_when_set = {
    "alora_invocation_tokens",
    "arrow_config",
    "ensure_weight_tying",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "modules_to_save",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
};

// Fields without influence on a trained adapter, and those that are read by name below.
constexpr std::array understood = {
    "alpha_pattern",     "auto_mapping",   "base_model_name_or_path", "bias",
    "corda_config",      "eva_config",     "exclude_modules",         "inference_mode",
    "init_lora_weights", "layers_pattern", "layers_to_transform",     "loftq_config",
    "lora_alpha",        "lora_dropout",   "lora_ga_config",          "megatron_core",
    "peft_type",         "peft_version",   "qalora_group_size",       "r",
    "rank_pattern",      "revision",       "target_modules",          "task_type",
    "use_rslora",
};

template <size_t n>
bool contains(const std::array<const char*, n>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_set(const json& value) {
  if (value.is_string()) return !value.get_ref<const std::string&>().empty();
  return !(value.is_null() || value == false || (value.is_structured() && value.empty()));
}

class Reader {
 public:
  Reader(const json& object, const std::string& who) : object_(object), who_(who) {}

  [[noreturn]] void refuse(const std::string& field, const std::string& expected) const {
    fail(ErrorKind::bad_input, "{}: {}: got {}, expected {}", who_, field,
         printable(field_or_null(field).dump(-1, ' ', true, json::error_handler_t::replace)),
         expected);
  }

  const json& field_or_null(const std::string& field) const {
    static const json null;
    const auto found = object_.find(field);
    return found == object_.end() ? null : *found;
  }

  uint64_t rank(const std::string& field, const json& value) const {
    if (!value.is_number_unsigned() || value.get<uint64_t>() == 0 ||
        value.get<uint64_t>() > max_rank) {
      refuse(field, fmt::format("an integer in 1..{}", max_rank));
    }
    return value.get<uint64_t>();
  }

  double alpha(const std::string& field, const json& value) const {
    if (!value.is_number() || value.get<double>() < 0) refuse(field, "a number >= 0");
    return value.get<double>();
  }

  bool boolean(const std::string& field) const {
    const json& value = field_or_null(field);
    if (!value.is_null() && !value.is_boolean()) refuse(field, "true or false");
    return value == true;
  }

  // A string, or null for "".
  std::string text(const std::string& field) const {
    const json& value = field_or_null(field);
    if (value.is_null()) return "";
    if (!value.is_string()) refuse(field, "a string or null");
    return value.get<std::string>();
  }

  // A list of names (sorted, once each: PEFT holds a set), or one string.
  void names_or_regex(const std::string& field, std::vector<std::string>& names,
                      std::string& regex) const {
    const json& value = field_or_null(field);
    if (value.is_string()) {
      regex = value.get<std::string>();
    } else if (value.is_array()) {
      for (const auto& name : value) {
        if (!name.is_string() || !is_set(name)) refuse(field, "names of modules");
        names.push_back(name.get<std::string>());
      }
      std::sort(names.begin(), names.end());
      names.erase(std::unique(names.begin(), names.end()), names.end());
    } else if (!value.is_null()) {
      refuse(field, "a list of names, a string or null");
    }
  }

  template <typename Value, typename Convert>
  std::map<std::string, Value> pattern(const std::string& field, Convert convert) const {
    const json& value = field_or_null(field);
    if (!value.is_null() && !value.is_object()) refuse(field, "an object");
    std::map<std::string, Value> out;
    for (const auto& [key, entry] : value.items()) out[key] = convert(field, entry);
    return out;
  }

 private:
  const json& object_;
  const std::string& who_;
};

std::vector<uint64_t> layer_indices(const Reader& reader) {
  const json& value = reader.field_or_null("layers_to_transform");
  std::vector<uint64_t> layers;
  const json list = value.is_array() ? value : json::array({value});
  for (const auto& layer : list) {
    if (!layer.is_number_unsigned()) reader.refuse("layers_to_transform", "layer numbers");
    layers.push_back(layer.get<uint64_t>());
  }
  return layers;
}

json number(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15) return static_cast<int64_t>(value);
  return value;
}

json names_or_null(const std::vector<std::string>& names) {
  return names.empty() ? json() : json(names);
}

}  // namespace

AdapterConfig adapter_config_from_json(const json& object, const std::string& who,
                                       std::vector<std::string>& warnings) {
  if (!object.is_object()) fail(ErrorKind::bad_input, "{}: expected a JSON object", who);
  const Reader reader(object, who);
  for (const auto& [field, value] : object.items()) {
    if (contains(unsupported_when_set, field)) {
      if (is_set(value)) reader.refuse(field, "null or false: Nibble does not support it");
    } else if (!contains(understood, field) && is_set(value)) {
      warnings.push_back(
          fmt::format("{}: {}: unknown field, ignored as PEFT does", who, printable(field)));
    }
  }
  if (reader.text("peft_type") != "LORA") reader.refuse("peft_type", "\"LORA\"");
  if (const auto& bias = reader.field_or_null("bias"); !bias.is_null() && bias != "none") {
    reader.refuse("bias", "\"none\": trained biases are not supported");
  }
  if (const auto& task = reader.field_or_null("task_type");
      !task.is_null() && task != "CAUSAL_LM") {
    reader.refuse("task_type", "\"CAUSAL_LM\" or null");
  }
  // The other ways to initialise change the base weights too, so the adapter alone says nothing.
  const auto& init = reader.field_or_null("init_lora_weights");
  if (!init.is_null() && !init.is_boolean() && init != "gaussian" && init != "orthogonal" &&
      init != "eva") {
    reader.refuse("init_lora_weights", "true, false, \"gaussian\", \"orthogonal\" or \"eva\"");
  }

  AdapterConfig config;
  config.base_model_name_or_path = reader.text("base_model_name_or_path");
  if (object.contains("r")) config.r = reader.rank("r", object.at("r"));
  if (object.contains("lora_alpha")) {
    config.lora_alpha = reader.alpha("lora_alpha", object.at("lora_alpha"));
  }
  if (const auto& dropout = reader.field_or_null("lora_dropout"); !dropout.is_null()) {
    if (!dropout.is_number() || !(dropout.get<double>() >= 0 && dropout.get<double>() < 1)) {
      reader.refuse("lora_dropout", "a number in [0, 1)");
    }
    config.lora_dropout = dropout.get<double>();
  }
  config.use_rslora = reader.boolean("use_rslora");
  reader.names_or_regex("target_modules", config.target_modules, config.target_regex);
  if (config.target_modules.empty() == config.target_regex.empty()) {
    reader.refuse("target_modules", "names of modules or one pattern");
  }
  reader.names_or_regex("exclude_modules", config.exclude_modules, config.exclude_regex);
  config.rank_pattern = reader.pattern<uint64_t>(
      "rank_pattern", [&](const auto& field, const json& v) { return reader.rank(field, v); });
  config.alpha_pattern = reader.pattern<double>(
      "alpha_pattern", [&](const auto& field, const json& v) { return reader.alpha(field, v); });
  if (is_set(reader.field_or_null("layers_to_transform"))) {
    config.layers_to_transform = layer_indices(reader);
  }
  std::string single_pattern;
  reader.names_or_regex("layers_pattern", config.layers_pattern, single_pattern);
  if (!single_pattern.empty()) config.layers_pattern = {single_pattern};
  return config;
}

std::string adapter_config_text(const AdapterConfig& config) {
  json alpha_pattern = json::object();
  for (const auto& [key, alpha] : config.alpha_pattern) alpha_pattern[key] = number(alpha);
  json object = {
      {"alpha_pattern", alpha_pattern},
      {"auto_mapping", nullptr},
      {"base_model_name_or_path", config.base_model_name_or_path},
      {"bias", "none"},
      {"fan_in_fan_out", false},
      {"inference_mode", true},
      {"init_lora_weights", true},
      {"layers_pattern", names_or_null(config.layers_pattern)},
      {"layers_to_transform", nullptr},
      {"lora_alpha", number(config.lora_alpha)},
      {"lora_dropout", config.lora_dropout},
      {"modules_to_save", nullptr},
      {"peft_type", "LORA"},
      {"r", config.r},
      {"rank_pattern", json(config.rank_pattern)},
      {"revision", nullptr},
      {"target_modules",
       config.target_regex.empty() ? json(config.target_modules) : json(config.target_regex)},
      {"task_type", "CAUSAL_LM"},
      {"use_dora", false},
      {"use_rslora", config.use_rslora},
  };
  if (config.layers_to_transform) object["layers_to_transform"] = *config.layers_to_transform;
  // Younger than the rest, so written only when it says something.
  if (!config.exclude_regex.empty()) {
    object["exclude_modules"] = config.exclude_regex;
  } else if (!config.exclude_modules.empty()) {
    object["exclude_modules"] = config.exclude_modules;
  }
  return object.dump(2, ' ', /*ensure_ascii=*/true);
}

}  // namespace nibble
