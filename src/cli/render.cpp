#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/chat_options.h"
#include "cli/commands.h"
#include "core/error.h"
#include "data/conversation.h"
#include "text/rendering_tokens.h"
#include "train/tokenizer_source.h"

namespace nibble::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string origin_name(const Origin& origin, const Rendering& rendering) {
  switch (origin.source) {
    case Origin::Source::template_text:
      return "template";
    case Origin::Source::tools:
      return "tools";
    case Origin::Source::variable:
      return "variable";
    case Origin::Source::message:
      break;
  }
  return origin.field < 0 ? fmt::format("messages[{}]", origin.message)
                          : fmt::format("messages[{}].{}", origin.message,
                                        rendering.fields[static_cast<size_t>(origin.field)]);
}

// On one line, control characters as JSON writes them.
std::string quoted(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

int run_render(std::vector<std::string> arguments) {
  std::string model, messages_file, tools_file;
  ChatOptions chat;
  bool add_generation_prompt = false, json = false, split_special_tokens = true;
  OptionTable table("render", "A conversation as the model's chat template writes it.");
  table.add("model_name_or_path", model, "model folder with tokenizer.json and a chat template",
            {"base_model", "model"});
  table.add("messages", messages_file,
            "JSON file: an array of messages, or an object with messages and tools");
  table.add("tools", tools_file, "JSON file with an array of tools");
  table.add_flag("add_generation_prompt", add_generation_prompt,
                 "end with what begins the assistant's turn");
  table.add("split_special_tokens", split_special_tokens,
            "control tokens that a message spells are text");
  add_chat_options(table, chat);
  table.add_flag("json", json, "print JSON: text, ids, pieces, spans, trained");
  if (!table.parse(std::move(arguments))) return 0;
  if (model.empty()) fail(ErrorKind::usage, "model_name_or_path is missing; give a model folder");
  if (messages_file.empty()) fail(ErrorKind::usage, "messages is missing; give a JSON file");

  const TokenizerSource source = TokenizerSource::open(model, chat);
  if (!source.chat)
    fail(ErrorKind::bad_input, "{}: the folder has no chat template; give --chat_template_path",
         model);
  Messages given = read_messages(messages_file);
  if (!tools_file.empty()) given.tools = read_messages(tools_file).messages;
  const Rendering rendering =
      source.chat->render(given.messages, given.tools, add_generation_prompt);
  const RenderingTokens tokens =
      encode_rendering(rendering, given.messages, source.tokenizer, split_special_tokens);

  // What a training row of these messages would train.
  Example example;
  example.kind = Example::Kind::conversation;
  example.messages = given.messages;
  example.tools = given.tools;
  std::vector<Finding> findings;
  std::vector<TrainedText> trained;
  if (!add_generation_prompt)
    trained = trained_texts(example, *source.chat, source.tokenizer, source.special, {}, findings);

  if (json) {
    Json out;
    out["text"] = rendering.text;
    out["ids"] = tokens.encoding.ids;
    out["pieces"] = Json::array();
    for (const int32_t id : tokens.encoding.ids)
      out["pieces"].push_back(std::string(source.tokenizer.piece(id)));
    out["spans"] = Json::array();
    for (const RenderedSpan& span : rendering.spans)
      out["spans"].push_back({{"begin", span.begin},
                              {"end", span.end},
                              {"from", origin_name(span.origin, rendering)}});
    out["trained"] = Json::array();
    for (const TrainedText& text : trained)
      out["trained"].push_back({{"text", text.rendering.text}, {"spans", text.trained}});
    out["findings"] = Json::array();
    for (const Finding& finding : findings)
      out["findings"].push_back({{"guard", guard_name(finding.guard)}, {"detail", finding.detail}});
    fmt::print("{}\n", out.dump(2));
    return 0;
  }
  fmt::print("{}\n", rendering.text);
  fmt::print("\n{} tokens\n", tokens.encoding.ids.size());
  for (size_t i = 0; i < tokens.encoding.ids.size(); ++i)
    fmt::print("{:>7}  {}\n", tokens.encoding.ids[i],
               source.tokenizer.piece(tokens.encoding.ids[i]));
  fmt::print("\nbytes, where from, text\n");
  for (const RenderedSpan& span : rendering.spans)
    fmt::print("{:>6}..{:<6} {:<24} {}\n", span.begin, span.end,
               origin_name(span.origin, rendering),
               quoted(rendering.text.substr(span.begin, span.end - span.begin)));
  for (const TrainedText& text : trained)
    for (const auto& [begin, end] : text.trained)
      fmt::print("trained: {}\n", quoted(text.rendering.text.substr(begin, end - begin)));
  for (const Finding& finding : findings)
    fmt::print("{}: {}\n", guard_name(finding.guard), finding.detail);
  return 0;
}

}  // namespace nibble::cli
