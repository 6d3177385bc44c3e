#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/console.h"
#include "cli/sizes.h"
#include "cli/train_options.h"
#include "export/quantize_model.h"
#include "ops/cpu/threads.h"

namespace nibble::cli {

int run_quantize(std::vector<std::string> arguments) {
  TrainOptions options;
  QuantizeOptions quantize;
  OptionTable table("quantize",
                    "Writes a bitsandbytes 4-bit folder of a model, which transformers loads.");
  add_source_options(table, options);
  table.add("output_dir", quantize.output_dir, "folder to write");
  table.add("overwrite_output_dir", quantize.overwrite_output_dir,
            "replace the model that output_dir holds");
  add_quant_options(table, options);
  add_shard_option(table, quantize.max_shard_bytes);
  table.add("threads", options.threads, "processor threads; 0: all");
  if (!table.parse(std::move(arguments))) return 0;

  const ModelSource source =
      ModelSource::open(options.model_name_or_path, options.ignore_config_fields);
  quantize.quant.type = options.bnb_4bit_quant_type;
  quantize.quant.double_quant = options.bnb_4bit_use_double_quant;
  quantize.threads = cpu::thread_count(options.threads);
  Console console;
  const QuantizeResult result =
      quantize_model(source, quantize,
                     [&](uint64_t done, uint64_t total) { console.bytes("writing", done, total); });
  console.note(fmt::format("quantized {} linear layers: {} -> {}, {} file{}; memory {}",
                           result.quantized_linears, human_bytes(result.source_bytes),
                           human_bytes(result.bytes), result.shards, result.shards > 1 ? "s" : "",
                           human_bytes(result.peak_bytes)));
  console.note("saved " + result.path.string());
  return 0;
}

}  // namespace nibble::cli
