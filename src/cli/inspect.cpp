#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/train_options.h"
#include "core/error.h"
#include "memory/plan.h"
#include "transformer/summary.h"

namespace nibble::cli {
namespace {

std::string windows_text(const ModelSpec& spec) {
  const auto limited = std::ranges::count_if(spec.windows, [](int64_t w) { return w > 0; });
  if (limited == 0) return "full";
  return fmt::format("window of {} in {} of {} layers", std::ranges::max(spec.windows), limited,
                     spec.layers);
}

void print_text(const ModelSource& source, const ModelSummary& s, const WeightOptions& weights) {
  const ModelSpec& m = source.spec;
  const auto row = [](const char* name, const std::string& value) {
    fmt::print("{:<24}{}\n", name, value);
  };
  row("architecture", fmt::format("{} ({})", m.architecture, m.model_type));
  row("layers", std::to_string(m.layers));
  row("hidden, intermediate", fmt::format("{}, {}", m.hidden_size, m.intermediate_size));
  row("heads", fmt::format("{} of {}, {} for keys and values{}", m.heads, m.head_dim, m.kv_heads,
                           m.qk_norm ? ", normed" : ""));
  row("attention", windows_text(m));
  row("rope", fmt::format("{}, {} of {} channels", m.rope.type, m.rope.rotary_dim(), m.head_dim));
  row("vocabulary, positions", fmt::format("{}, {}", m.vocab_size, m.max_positions));
  row("head", m.tied_head ? "tied to the embedding" : "its own");
  row("parameters", with_separators(m.parameters()));
  row("  embeddings and head", with_separators(m.embedding_parameters()));
  row("  linear layers",
      fmt::format("{} in {}", with_separators(m.linear_parameters()), s.linears));
  row("stored", fmt::format("{} ({} bytes{}{})", human_bytes(s.stored_bytes), s.stored_bytes,
                            source.prequantized ? ", quantized by bitsandbytes" : "",
                            source.dir ? "" : fmt::format(", as {}", name_of(m.dtype))));
  row("quantized", fmt::format("{} ({} bytes)", human_bytes(s.quantized_bytes), s.quantized_bytes));
  row("  linear layers",
      fmt::format("{} bytes, {:.3f} bits a weight", s.codes_and_scales_bytes, s.bits_per_weight()));
  row("  embeddings and head",
      fmt::format("{} bytes in {}", s.embedding_bytes, name_of(weights.compute)));
  row("  norms and biases", fmt::format("{} bytes", s.rest_bytes));
  for (const auto& [name, count] : s.targets.match_counts)
    row("adapter", fmt::format("{} matches {} linear layers", name, count));
  fmt::print("{}\n", trainable_line(s.trainable, m.parameters()));
}

nlohmann::ordered_json to_json(const ModelSource& source, const ModelSummary& s) {
  const ModelSpec& m = source.spec;
  nlohmann::ordered_json json;
  json["architecture"] = m.architecture;
  json["model_type"] = m.model_type;
  json["num_hidden_layers"] = m.layers;
  json["hidden_size"] = m.hidden_size;
  json["intermediate_size"] = m.intermediate_size;
  json["num_attention_heads"] = m.heads;
  json["num_key_value_heads"] = m.kv_heads;
  json["head_dim"] = m.head_dim;
  json["vocab_size"] = m.vocab_size;
  json["max_position_embeddings"] = m.max_positions;
  json["rope_type"] = m.rope.type;
  json["rotary_dim"] = m.rope.rotary_dim();
  json["windows"] = m.windows;
  json["tie_word_embeddings"] = m.tied_head;
  json["dtype"] = name_of(m.dtype);
  json["prequantized"] = source.prequantized;
  json["parameters"] = m.parameters();
  json["embedding_parameters"] = m.embedding_parameters();
  json["linear_parameters"] = m.linear_parameters();
  json["stored_bytes"] = s.stored_bytes;
  json["quantized_bytes"] = s.quantized_bytes;
  json["quantized_linear_bytes"] = s.codes_and_scales_bytes;
  json["embedding_bytes"] = s.embedding_bytes;
  json["norm_and_bias_bytes"] = s.rest_bytes;
  json["bits_per_weight"] = s.bits_per_weight();
  json["matched_modules"] = s.targets.match_counts;
  json["trainable_parameters"] = s.trainable;
  json["trainable_line"] = trainable_line(s.trainable, m.parameters());
  return json;
}

}  // namespace

int run_inspect(std::vector<std::string> arguments) {
  TrainOptions options;
  bool json = false;
  OptionTable table("inspect", "Architecture, sizes and trainable parameters of a model.");
  table.add_positional("DIR", options.model_name_or_path,
                       "model folder, or a config.json without weights");
  add_model_options(table, options);
  add_lora_options(table, options);
  table.add_flag("json", json, "print JSON");
  if (!table.parse(std::move(arguments))) return 0;

  const ModelSource source =
      ModelSource::open(options.model_name_or_path, options.ignore_config_fields);
  const WeightOptions weights = weight_options(options);
  const ModelSummary summary = summarize(source, weights, options.lora);
  if (json)
    fmt::print("{}\n", to_json(source, summary).dump(2));
  else
    print_text(source, summary, weights);
  return 0;
}

}  // namespace nibble::cli
