#include <fmt/format.h>

#include <chrono>
#include <optional>

#include "cli/chat_options.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/streaming.h"
#include "cli/train_options.h"
#include "core/error.h"
#include "memory/planned_run.h"
#include "text/rendering_tokens.h"
#include "text/text_stream.h"
#include "train/tokenizer_source.h"
#include "transformer/generation.h"
#include "transformer/inference_model.h"

namespace nibble::cli {
namespace {

// The prompt as the model knows it: through its chat template, if it has one.
std::vector<int32_t> prompt_ids(const TokenizerSource& source, const std::string& prompt,
                                const std::string& messages_file, const std::string& apply) {
  if (!messages_file.empty() && !prompt.empty())
    fail(ErrorKind::usage, "generate: give either --prompt or --messages");
  const bool templated = apply == "true" || !messages_file.empty() ||
                         (apply == "auto" && source.chat && !prompt.empty());
  if (!templated) return source.tokenizer.encode(prompt, true).ids;
  if (!source.chat || apply == "false")
    fail(ErrorKind::usage,
         "generate: messages need a chat template; the model folder has {}; give "
         "--chat_template_path",
         source.chat ? "one, but apply_chat_template is false" : "none");
  Messages given;
  if (messages_file.empty())
    given.messages = nlohmann::ordered_json::array({{{"role", "user"}, {"content", prompt}}});
  else
    given = read_messages(messages_file);
  return encode_rendering(source.chat->render(given.messages, given.tools, true), given.messages,
                          source.tokenizer, true)
      .encoding.ids;
}

}  // namespace

int run_generate(std::vector<std::string> arguments) {
  TrainOptions options;
  GenerationOptions generation;
  std::string prompt, messages, apply = "auto";
  bool timings = false;
  ChatOptions chat;
  OptionTable table("generate",
                    "Continues a prompt. Prints the new text only, as it comes, and a newline.");
  add_model_options(table, options);
  table.add("adapter", options.adapter_name_or_path, "folder of a PEFT adapter",
            {"adapter_name_or_path"});
  table.add(
      "prompt", prompt,
      "what the user says to the model; without a chat template, text to continue (empty: from "
      "the start-of-text token)");
  table.add("messages", messages, "JSON file with a conversation to answer, in place of prompt");
  table.add_choice<std::string>("apply_chat_template", apply,
                                {{"auto", "auto"}, {"true", "true"}, {"false", "false"}},
                                "auto: where the model has a chat template; false: continue the "
                                "prompt as it is");
  add_chat_options(table, chat);
  table.add("max_new_tokens", generation.max_new_tokens, "new tokens at most");
  table.add("temperature", generation.temperature, "0: the likeliest token each time");
  table.add("top_p", generation.top_p,
            "draw from the likeliest tokens that have this probability together");
  table.add("seed", generation.seed, "of the draws");
  table.add_flag("timings", timings, "say to the error output how fast it was");
  if (!table.parse(std::move(arguments))) return 0;
  check_generation_options(generation);
  auto reading = TokenizerSource::begin_open(options.model_name_or_path, chat);
  const Device device = resolve_device(options);

  const ModelSource source =
      ModelSource::open(options.model_name_or_path, options.ignore_config_fields);
  const TokenizerSource tokens = reading.get();
  check_vocabulary(tokens.tokenizer, source.spec);
  std::optional<AdapterSource> adapter;
  if (!options.adapter_name_or_path.empty())
    adapter = AdapterSource::open(options.adapter_name_or_path);
  const std::vector<int32_t> ids = prompt_ids(tokens, prompt, messages, apply);

  Console console(stderr);
  if (adapter) warn_about(*adapter, source, tokens, console);
  const LoadProgress loading = [&](uint64_t done, uint64_t total) {
    console.bytes("loading", done, total);
  };
  TextStream text(tokens.tokenizer, ids);
  watch_interrupt();
  using Clock = std::chrono::steady_clock;
  int64_t count = 0;
  Clock::time_point first, last;
  const auto work = [&](Ops& ops) {
    const InferenceModel loaded(source, weight_options(options), adapter ? &*adapter : nullptr, ops,
                                ops.has_data() ? loading : LoadProgress{});
    console.clear();
    generate(loaded.model(), ids, tokens.special.stop_ids, generation, [&](int32_t token) {
      last = Clock::now();
      if (count++ == 0) first = last;
      write_text(text.add(token));
      return !interrupted();
    });
  };
  run_planned(device, work, "this generation", "use a shorter prompt or a smaller max_new_tokens");
  write_text(text.finish() + "\n");
  const std::chrono::duration<double> taken = last - first;
  if (timings && count > 1)
    console.note(fmt::format("{} tokens, after the first {:.1f} tokens/s", count,
                             static_cast<double>(count - 1) / taken.count()));
  return 0;
}

}  // namespace nibble::cli
