#include <fmt/format.h>

#include <iostream>
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

using Json = nlohmann::ordered_json;

// The messages so far, and what of them the cache holds.
class Conversation {
 public:
  Conversation(const TokenizerSource& source, const std::string& system, Generation& document,
               const GenerationOptions& options)
      : source_(source),
        document_(document),
        sampler_(options),
        limit_(options.max_new_tokens),
        system_(system) {
    reset();
  }

  void reset() {
    messages_ = Json::array();
    if (!system_.empty()) messages_.push_back({{"role", "system"}, {"content", system_}});
  }
  void set_system(const std::string& text) {
    system_ = text;
    reset();
  }

  // Streams the answer. A message that does not fit is taken back.
  void say(const std::string& text) {
    messages_.push_back({{"role", "user"}, {"content", text}});
    const std::vector<int32_t> ids = encode_rendering(source_.chat->render(messages_, {}, true),
                                                      messages_, source_.tokenizer, true)
                                         .encoding.ids;
    const int64_t room = document_.final_length() - static_cast<int64_t>(ids.size());
    if (room < 1) {
      messages_.erase(messages_.size() - 1);
      fail(ErrorKind::usage,
           "the conversation has {} tokens and max_length is {}; /reset begins anew", ids.size(),
           document_.final_length());
    }
    // What the cache holds stays, as far as the text is the same; at least one token is computed.
    size_t same = 0;
    while (same < cached_.size() && same + 1 < ids.size() && cached_[same] == ids[same]) ++same;
    document_.rewind(static_cast<int64_t>(same));
    cached_ = ids;
    TextStream stream(source_.tokenizer, ids);
    std::string answer;
    const auto show = [&](const std::string& piece) {
      write_text(piece);
      answer += piece;
    };
    const GenerationEnd end =
        continue_document(document_, std::span(ids).subspan(same), std::min(room, limit_),
                          source_.special.stop_ids, sampler_, [&](int32_t token) {
                            cached_.push_back(token);
                            show(stream.add(token));
                            return !interrupted();
                          });
    show(stream.finish());
    cached_.resize(static_cast<size_t>(document_.length()));
    write_text(end == GenerationEnd::cancelled ? " [stopped]\n"
               : end == GenerationEnd::limit   ? " [max_new_tokens]\n"
                                               : "\n");
    messages_.push_back({{"role", "assistant"}, {"content", answer}});
  }

 private:
  const TokenizerSource& source_;
  Generation& document_;
  Sampler sampler_;
  int64_t limit_;
  std::string system_;
  Json messages_;
  std::vector<int32_t> cached_;
};

// Reads lines until /exit or the end of the input. A line that ends in \ goes on in the next.
void converse(Conversation& conversation, bool terminal) {
  const auto prompt = [&](const char* text) {
    if (terminal) write_text(text);
  };
  for (;;) {
    prompt("> ");
    std::string text, line;
    bool more = true;
    while (more && std::getline(std::cin, line)) {
      more = line.ends_with('\\');
      if (more) line.back() = '\n';
      text += line;
      if (more) prompt("  ");
    }
    if (std::cin.eof() && text.empty()) break;
    if (std::cin.fail() && !std::cin.eof()) std::cin.clear();
    forget_interrupt();
    if (text == "/exit" || text == "/quit") break;
    if (text == "/reset") {
      conversation.reset();
    } else if (text.starts_with("/system ")) {
      conversation.set_system(text.substr(8));
    } else if (text.starts_with('/')) {
      write_text(
          "/reset begins anew, /system TEXT sets the system prompt and begins anew, /exit "
          "ends\n");
    } else if (!text.empty()) {
      try {
        conversation.say(text);
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::usage && error.kind() != ErrorKind::bad_input) throw;
        write_text(fmt::format("nibble: {}\n", error.what()));
      }
    }
  }
}

}  // namespace

int run_chat(std::vector<std::string> arguments) {
  TrainOptions options;
  ChatOptions chat;
  GenerationOptions generation;
  generation.max_new_tokens = 1024;
  int64_t max_length = 4096;
  std::string system;
  OptionTable table("chat", "A conversation with a model, and perhaps an adapter.");
  add_model_options(table, options);
  table.add("adapter", options.adapter_name_or_path, "folder of a PEFT adapter",
            {"adapter_name_or_path"});
  table.add("system", system, "system prompt", {"system_prompt"});
  add_chat_options(table, chat);
  table.add("max_length", max_length, "tokens of the whole conversation; decides the memory");
  table.add("max_new_tokens", generation.max_new_tokens, "tokens of an answer at most");
  table.add("temperature", generation.temperature, "0: the likeliest token each time");
  table.add("top_p", generation.top_p,
            "draw from the likeliest tokens that have this probability together");
  table.add("seed", generation.seed, "of the draws");
  if (!table.parse(std::move(arguments))) return 0;
  check_generation_options(generation);
  if (max_length < 2) fail(ErrorKind::usage, "max_length: got {}, expected 2 or more", max_length);
  auto reading = TokenizerSource::begin_open(options.model_name_or_path, chat);
  const Device device = resolve_device(options);
  const ModelSource source =
      ModelSource::open(options.model_name_or_path, options.ignore_config_fields);
  const TokenizerSource tokens = reading.get();
  if (!tokens.chat)
    fail(ErrorKind::bad_input,
         "{}: the folder has no chat template; give --chat_template_path, or use generate",
         options.model_name_or_path);
  check_vocabulary(tokens.tokenizer, source.spec);
  std::optional<AdapterSource> adapter;
  if (!options.adapter_name_or_path.empty())
    adapter = AdapterSource::open(options.adapter_name_or_path);
  max_length = std::min<int64_t>(max_length, source.spec.max_positions);

  Console console(stderr);
  if (adapter) warn_about(*adapter, source, tokens, console);
  const LoadProgress loading = [&](uint64_t done, uint64_t total) {
    console.bytes("loading", done, total);
  };
  const bool terminal = isatty(fileno(stdin)) != 0;
  const auto work = [&](Ops& ops) {
    const InferenceModel loaded(source, weight_options(options), adapter ? &*adapter : nullptr, ops,
                                ops.has_data() ? loading : LoadProgress{});
    Generation document(loaded.model(), max_length);
    if (!ops.has_data()) {
      document.advance(std::vector<int32_t>(static_cast<size_t>(max_length)));
      return;
    }
    console.clear();
    // Ctrl-C ends an answer; at the prompt, where reading goes on, /exit or Ctrl-D ends the
    // program.
    watch_interrupt();
    if (terminal) console.note("/reset, /system TEXT, /exit; a line that ends in \\ goes on");
    Conversation conversation(tokens, system, document, generation);
    converse(conversation, terminal);
  };
  run_planned(device, work, "this conversation", "use a smaller max_length");
  return 0;
}

}  // namespace nibble::cli
