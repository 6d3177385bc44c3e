#include "cli/train_options.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "cli/chat_options.h"
#include "core/error.h"

namespace nibble::cli {
namespace {

using Words = std::vector<std::string>;

// "a,b c" -> {"a", "b", "c"}.
Words split_list(const Words& given) {
  Words result;
  for (const std::string& word : given)
    for (size_t begin = 0; begin <= word.size();) {
      const size_t end = std::min(word.find(',', begin), word.size());
      if (end > begin) result.push_back(word.substr(begin, end - begin));
      begin = end + 1;
    }
  return result;
}

int64_t parse_integer(const std::string& name, const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    fail(ErrorKind::usage, "{}: got {}, expected a whole number", name, text);
  return value;
}

double parse_number(const std::string& name, const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    fail(ErrorKind::usage, "{}: got {}, expected a number", name, text);
  return value;
}

// One regular expression, "all-linear", or a list of names.
void parse_targets(const Words& given, AdapterConfig& lora) {
  lora.target_modules.clear();
  lora.target_regex.clear();
  const bool regex =
      given.size() == 1 && given[0].find_first_of("*+?()[]{}|^$\\") != std::string::npos;
  if (regex || (given.size() == 1 && (given[0] == "all-linear" || given[0] == "all")))
    lora.target_regex = given[0] == "all" ? "all-linear" : given[0];
  else
    lora.target_modules = split_list(given);
}

template <typename Value>
void parse_pattern(const std::string& name, const Words& given, std::map<std::string, Value>& to) {
  std::string text;
  for (const std::string& word : given) text += word;
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object())
    fail(ErrorKind::usage, "{}: got {}, expected a map such as {{\"q_proj\": 8}}", name, text);
  to.clear();
  for (const auto& [key, value] : json.items()) {
    constexpr bool whole = std::is_integral_v<Value>;
    if (!value.is_number() || (whole && !value.is_number_integer()) ||
        value.template get<double>() < 1)
      fail(ErrorKind::usage, "{}: {}: got {}, expected a {}number of at least 1", name, key,
           value.dump(), whole ? "whole " : "");
    to[key] = value.template get<Value>();
  }
}

int64_t parse_checkpointing(const std::string& text) {
  if (text == "auto") return TrainOptions::automatic;
  if (text == "none" || text == "false" || text == "False") return 0;
  if (text == "every" || text == "true" || text == "True") return 1;
  return parse_integer("gradient_checkpointing", text);
}

}  // namespace

void add_source_options(OptionTable& table, TrainOptions& o) {
  table.add("model_name_or_path", o.model_name_or_path,
            "folder of the base model: config.json, *.safetensors, tokenizer.json",
            {"base_model", "model"});
  table.add_parsed(
      "ignore_config_fields", [&o](const Words& w) { o.ignore_config_fields = split_list(w); },
      "unknown config.json fields to take as harmless");
}

void add_quant_options(OptionTable& table, TrainOptions& o) {
  table.add_choice<QuantType>("bnb_4bit_quant_type", o.bnb_4bit_quant_type,
                              {{"nf4", QuantType::nf4}, {"fp4", QuantType::fp4}}, "nf4 or fp4",
                              {"quantization_type"});
  table.add("bnb_4bit_use_double_quant", o.bnb_4bit_use_double_quant,
            "quantize the scales, too: 4.13 instead of 4.5 bits a weight",
            {"use_bnb_nested_quant", "double_quantization"});
}

void add_compute_options(OptionTable& table, TrainOptions& o) {
  table.add("bnb_4bit_compute_dtype", o.bnb_4bit_compute_dtype,
            "bfloat16, float32, float16 (GPU), or auto: the faster one on the device");
  table.add("device", o.device, "auto, cpu, cuda or cuda:N; auto takes a GPU where there is one");
  table.add("threads", o.threads, "processor threads; 0: all");
}

void add_model_options(OptionTable& table, TrainOptions& o) {
  add_source_options(table, o);
  table.add("load_in_4bit", o.load_in_4bit,
            "quantize the linear layers to 4 bits; false: 16-bit base");
  add_quant_options(table, o);
  add_compute_options(table, o);
}

void add_lora_options(OptionTable& table, TrainOptions& o) {
  table.add("lora_r", o.lora.r, "rank", {"r", "lora_rank"});
  table.add("lora_alpha", o.lora.lora_alpha, "the adapter is scaled by lora_alpha / lora_r");
  table.add("lora_dropout", o.lora.lora_dropout, "dropout on the adapter's input");
  table.add_parsed(
      "lora_target_modules", [&o](const Words& w) { parse_targets(w, o.lora); },
      "names, one regular expression for the full path, or all-linear",
      {"target_modules", "lora_target"}, "all-linear");
  table.add("use_rslora", o.lora.use_rslora, "scale by lora_alpha / sqrt(lora_r)",
            {"peft_use_rslora"});
  table.add_parsed("rank_pattern",
                   [&o](const Words& w) { parse_pattern("rank_pattern", w, o.lora.rank_pattern); },
                   "ranks by module, as {\"down_proj\": 8}", {"lora_rank_pattern"});
  table.add_parsed(
      "alpha_pattern",
      [&o](const Words& w) { parse_pattern("alpha_pattern", w, o.lora.alpha_pattern); },
      "lora_alpha by module", {"lora_alpha_pattern"});
  table.add_parsed(
      "layers_to_transform",
      [&o](const Words& w) {
        o.lora.layers_to_transform.emplace();
        for (const std::string& word : split_list(w)) {
          const int64_t layer = parse_integer("layers_to_transform", word);
          if (layer < 0)
            fail(ErrorKind::usage, "layers_to_transform: got {}, expected 0 or more", layer);
          o.lora.layers_to_transform->push_back(static_cast<uint64_t>(layer));
        }
      },
      "layers that get an adapter; all without it");
}

void add_checkpointing_option(OptionTable& table, TrainOptions& o) {
  table.add_parsed(
      "gradient_checkpointing",
      [&o](const Words& w) { o.gradient_checkpointing = parse_checkpointing(w.back()); },
      "none, every, or n: every n-th block is recomputed in backward; auto: what fits is kept", {},
      "auto");
}

void add_memory_options(OptionTable& table, TrainOptions& o) {
  table.add("memory_budget", o.memory_budget,
            "memory of the device that the run may take in all, as 6GiB; without: what is free",
            {"max_memory"});
  table.add("host_memory_budget", o.host_memory_budget,
            "memory outside of the device that it may take; without: what is free");
  table.add("offload_folder", o.offload_folder,
            "on the CPU: the folder whose disk serves as memory outside; without: output_dir");
}

void add_step_options(OptionTable& table, TrainOptions& o) {
  table.add("load_in_4bit", o.load_in_4bit,
            "quantize the linear layers to 4 bits; false: 16-bit base");
  add_quant_options(table, o);
  add_compute_options(table, o);
  add_lora_options(table, o);
  table.add("gradient_accumulation_steps", o.gradient_accumulation_steps,
            "micro-batches in an optimizer step");
  add_checkpointing_option(table, o);
}

void add_data_options(OptionTable& table, TrainOptions& o) {
  DataOptions& d = o.data;
  table.add("dataset", o.dataset,
            "data files or folders, with commas between: .jsonl, .json, .csv, .tsv, .txt",
            {"datasets", "train_file"});
  table.add_parsed(
      "dataset_format", [&d](const Words& w) { d.format.format = parse_row_format(w.back()); },
      "auto, text, prompt_completion, alpaca, question_answer, sharegpt, messages or tokenized", {},
      "auto");
  table.add("dataset_text_field", d.format.text_field, "the field that holds a row's text");
  table.add("dataset_messages_field", d.format.messages_field,
            "the field that holds a row's messages; empty: messages or conversations",
            {"field_messages"});
  table.add_parsed(
      "sample_by", [&d](const Words& w) { d.rows.sample_by = parse_sample_by(w.back()); },
      "what is a row of a text file: line, paragraph or document", {}, "line");
  table.add_parsed(
      "bad_rows", [&d](const Words& w) { d.bad_rows = parse_bad_rows(w.back()); },
      "rows that are not understood: refuse (the first ends the run) or skip (they are counted)",
      {}, "refuse");
  table.add("max_length", o.max_length, "tokens in a row, and in a pack",
            {"max_seq_length", "sequence_len", "cutoff_len"});
  table.add_choice<TruncationMode>(
      "truncation_mode", d.encode.truncation_mode,
      {{"refuse", TruncationMode::refuse},
       {"drop", TruncationMode::drop},
       {"keep_start", TruncationMode::keep_start},
       {"keep_end", TruncationMode::keep_end},
       {"split", TruncationMode::split}},
      "rows longer than max_length: refuse (where more than 1 % lose trained tokens), drop, "
      "keep_start, keep_end or split");
  table.add("completion_only_loss", o.completion_only_loss,
            "train only the completion of prompt/completion rows", {"train_on_completions"});
  table.add("assistant_only_loss", d.encode.turns.assistant_only_loss,
            "train only the assistant's turns of conversations; false: every token");
  table.add("mask_history", d.encode.turns.mask_history, "train only the last assistant turn");
  table.add_choice<TrainOnEos>(
      "train_on_eos", d.encode.turns.train_on_eos,
      {{"turn", TrainOnEos::turn},
       {"all", TrainOnEos::all},
       {"last", TrainOnEos::last},
       {"none", TrainOnEos::none}},
      "end tokens that are trained: of each trained turn, of all turns, of "
      "the last trained turn, or none");
  table.add("null_content_as_empty", d.encode.turns.null_content_as_empty,
            "give the chat template \"\" where a message's content is null");
  table.add("split_special_tokens", d.encode.split_special_tokens,
            "control tokens that a message spells are text, not tokens");
  add_chat_options(table, d.chat);
}

void add_training_options(OptionTable& table, TrainOptions& o) {
  add_model_options(table, o);
  add_data_options(table, o);
  table.add_parsed(
      "dataset_weights",
      [&o](const Words& w) {
        o.data.weights.clear();
        for (const std::string& word : split_list(w))
          o.data.weights.push_back(parse_number("dataset_weights", word));
      },
      "how often each path of dataset is taken: 2 is every row twice, 0.5 every second");
  table.add("val_set_size", o.data.val_set_size,
            "rows held out to evaluate on: a fraction below 1, or a count", {"val_size"});
  table.add("eval_dataset", o.eval_dataset, "data files to evaluate on");
  table.add_parsed(
      "ignore_guards", [&o](const Words& w) { o.data.ignore_guards = split_list(w); },
      "guards, by name, that must not stop the run (nibble check lists them)");
  table.add("output_dir", o.output_dir, "folder for checkpoints, metrics and the adapter");
  table.add("overwrite_output_dir", o.overwrite_output_dir, "delete the run that output_dir holds");
  table.add("resume_from_checkpoint", o.resume_from_checkpoint,
            "true: go on from the newest checkpoint in output_dir; or a checkpoint's folder",
            {"auto_resume_from_checkpoints"});
  table.add("adapter_name_or_path", o.adapter_name_or_path, "start from this PEFT adapter",
            {"adapter"});
  add_lora_options(table, o);

  table.add("per_device_train_batch_size", o.per_device_train_batch_size,
            "rows, or packs, in a micro-batch", {"micro_batch_size", "batch_size"});
  table.add("per_device_eval_batch_size", o.per_device_eval_batch_size, "rows, in evaluation");
  table.add("gradient_accumulation_steps", o.gradient_accumulation_steps,
            "micro-batches in an optimizer step");
  table.add("global_batch_size", o.global_batch_size,
            "rows in an optimizer step, cut into micro-batches as is fastest; 0: as the two above");
  add_memory_options(table, o);
  table.add("num_train_epochs", o.num_train_epochs, "passes over the dataset", {"num_epochs"});
  table.add("max_steps", o.max_steps, "optimizer steps; overrides num_train_epochs when above 0");
  table.add("packing", o.packing, "put whole rows together into packs of max_length tokens",
            {"sample_packing"});
  table.add("packing_strategy", o.packing_strategy, "bfd: best-fit decreasing");
  table.add_choice<Sampling>("train_sampling_strategy", o.train_sampling_strategy,
                             {{"random", Sampling::random},
                              {"sequential", Sampling::sequential},
                              {"group_by_length", Sampling::group_by_length}},
                             "random, sequential, or group_by_length: rows of like lengths in a "
                             "step");

  table.add("learning_rate", o.learning_rate, "peak learning rate");
  table.add_choice<SchedulerType>("lr_scheduler_type", o.lr_scheduler_type,
                                  {{"linear", SchedulerType::linear},
                                   {"cosine", SchedulerType::cosine},
                                   {"constant", SchedulerType::constant},
                                   {"constant_with_warmup", SchedulerType::constant_with_warmup}},
                                  "linear, cosine, constant, constant_with_warmup",
                                  {"lr_scheduler"});
  table.add("warmup_steps", o.warmup_steps, "steps of linear warm-up; wins over warmup_ratio");
  table.add("warmup_ratio", o.warmup_ratio, "warm-up as a part of all steps");
  table.add("weight_decay", o.weight_decay, "decoupled weight decay");
  table.add("adam_beta1", o.adam_beta1, "AdamW");
  table.add("adam_beta2", o.adam_beta2, "AdamW");
  table.add("adam_epsilon", o.adam_epsilon, "AdamW");
  table.add("max_grad_norm", o.max_grad_norm, "clip the gradient's norm; 0: do not");
  table.add_choice<OptimizerType>("optim", o.optim,
                                  {{"adamw", OptimizerType::adamw},
                                   {"adamw_torch", OptimizerType::adamw},
                                   {"adamw_torch_fused", OptimizerType::adamw},
                                   {"adamw_8bit", OptimizerType::adamw_8bit},
                                   {"adamw_bnb_8bit", OptimizerType::adamw_8bit}},
                                  "adamw or adamw_8bit (moments in 8 bits)", {"optimizer"});
  table.add("seed", o.seed, "of adapter, order and dropout", {"random_state"});
  add_checkpointing_option(table, o);

  table.add("logging_steps", o.logging_steps, "steps between log lines");
  table.add("eval_steps", o.eval_steps, "steps between evaluations; 0: only at the end");
  table.add("save_steps", o.save_steps, "steps between checkpoints; 0: only at the end");
  table.add("save_total_limit", o.save_total_limit, "checkpoints kept");
  table.add_config();
}

}  // namespace nibble::cli
