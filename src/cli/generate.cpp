#include <fmt/format.h>

#include <csignal>
#include <optional>

#include "cli/commands.h"
#include "cli/console.h"
#include "cli/train_options.h"
#include "memory/planned_run.h"
#include "ops/cpu/threads.h"
#include "text/text_stream.h"
#include "train/tokenizer_source.h"
#include "transformer/generation.h"
#include "transformer/inference_model.h"

namespace nibble::cli {
namespace {

volatile std::sig_atomic_t interrupted = 0;

void write_text(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

}  // namespace

int run_generate(std::vector<std::string> arguments) {
  TrainOptions options;
  GenerationOptions generation;
  std::string prompt;
  OptionTable table("generate",
                    "Continues a prompt. Prints the new text only, as it comes, and a newline.");
  add_model_options(table, options);
  table.add("adapter", options.adapter_name_or_path, "folder of a PEFT adapter",
            {"adapter_name_or_path"});
  table.add("prompt", prompt, "text to continue; empty: from the start-of-text token");
  table.add("max_new_tokens", generation.max_new_tokens, "new tokens at most");
  table.add("temperature", generation.temperature, "0: the likeliest token each time");
  table.add("top_p", generation.top_p,
            "draw from the likeliest tokens that have this probability together");
  table.add("seed", generation.seed, "of the draws");
  if (!table.parse(std::move(arguments))) return 0;
  check_generation_options(generation);
  const Device device = resolve_device(options);

  const ModelSource source =
      ModelSource::open(options.model_name_or_path, options.ignore_config_fields);
  const TokenizerSource tokens = TokenizerSource::open(options.model_name_or_path);
  check_vocabulary(tokens.tokenizer, source.spec);
  std::optional<AdapterSource> adapter;
  if (!options.adapter_name_or_path.empty())
    adapter = AdapterSource::open(options.adapter_name_or_path);
  const std::vector<int32_t> ids = tokens.tokenizer.encode(prompt, true).ids;

  Console console(stderr);
  const LoadProgress loading = [&](uint64_t done, uint64_t total) {
    console.bytes("loading", done, total);
  };
  TextStream text(tokens.tokenizer, ids);
  std::signal(SIGINT, [](int) { interrupted = 1; });
  const auto work = [&](Ops& ops) {
    const InferenceModel loaded(source, weight_options(options), adapter ? &*adapter : nullptr, ops,
                                ops.has_data() ? loading : LoadProgress{});
    console.clear();
    generate(loaded.model(), ids, tokens.special.stop_ids, generation, [&](int32_t token) {
      write_text(text.add(token));
      return interrupted == 0;
    });
  };
  run_planned(device, work, "this generation",
              "use a shorter prompt or a smaller max_new_tokens");
  write_text(text.finish() + "\n");
  return 0;
}

}  // namespace nibble::cli
