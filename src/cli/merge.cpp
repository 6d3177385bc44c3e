#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/console.h"
#include "cli/sizes.h"
#include "cli/train_options.h"
#include "core/error.h"
#include "export/merge_model.h"
#include "ops/cpu/threads.h"

namespace nibble::cli {

int run_merge(std::vector<std::string> arguments) {
  TrainOptions options;
  MergeOptions merge;
  OptionTable table("merge",
                    "Merges an adapter into the weights and writes a 16-bit model folder.");
  add_source_options(table, options);
  table.add("adapter", options.adapter_name_or_path, "folder of the PEFT adapter",
            {"adapter_name_or_path"});
  table.add("output_dir", merge.output_dir, "folder to write");
  table.add("overwrite_output_dir", merge.overwrite_output_dir,
            "replace the model that output_dir holds");
  table.add_choice<MergeInto>(
      "into", merge.into,
      {{"original", MergeInto::original}, {"dequantized", MergeInto::dequantized}},
      "original: the weights as stored; dequantized: what 4-bit training saw of them");
  add_quant_options(table, options);
  add_shard_option(table, merge.max_shard_bytes);
  table.add("compare_prompts", merge.compare_prompts,
            "prompts on which the merged model is compared with the live adapter; 0: none");
  add_compute_options(table, options);
  if (!table.parse(std::move(arguments))) return 0;
  if (options.adapter_name_or_path.empty())
    fail(ErrorKind::usage, "adapter is missing; give the folder that train wrote");

  const ModelSource source =
      ModelSource::open(options.model_name_or_path, options.ignore_config_fields);
  const AdapterSource adapter = AdapterSource::open(options.adapter_name_or_path);
  const WeightOptions weights = weight_options(options);
  merge.quant = weights.quant;
  merge.compute = weights.compute;
  merge.ignore_config_fields = options.ignore_config_fields;
  merge.threads = cpu::thread_count(options.threads);
  Console console;
  if (const auto warning = base_warning(adapter, source)) console.note(*warning);
  MergeEvents events;
  events.merging = [&](uint64_t done, uint64_t total) { console.bytes("merging", done, total); };
  events.comparing = [&](uint64_t done, uint64_t total) {
    console.bytes("comparing, loading", done, total);
  };
  const MergeResult result = merge_model(source, adapter, merge, events);
  const bool original = merge.into == MergeInto::original;
  console.note(fmt::format("merged {} of {} linear layers into the {} weights: {}, {} file{}",
                           result.merged_linears, result.linears,
                           original ? "original" : "dequantized", human_bytes(result.bytes),
                           result.shards, result.shards > 1 ? "s" : ""));
  const LogitDifference& d = result.difference;
  if (d.prompts > 0)
    console.note(fmt::format(
        "logits after {} prompts of {} tokens, merged against {} base with live adapter, in {}: "
        "largest difference {:.3g}, mean {:.3g} (largest logit {:.3g})",
        d.prompts, d.prompt_tokens, original ? "16-bit" : "4-bit", name_of(merge.compute),
        d.largest, d.mean, d.largest_logit));
  console.note(fmt::format("memory {}", human_bytes(result.peak_bytes)));
  console.note("saved " + result.path.string());
  return 0;
}

}  // namespace nibble::cli
