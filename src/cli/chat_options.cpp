#include "cli/chat_options.h"

#include "core/error.h"
#include "files/json.h"

namespace nibble::cli {

void add_chat_options(OptionTable& table, ChatOptions& options) {
  table.add("chat_template_path", options.chat_template_path,
            "a .jinja file or a model folder; without it the model's own chat template",
            {"chat_template"});
  table.add("chat_template_kwargs", options.chat_template_kwargs,
            "variables for the chat template as JSON: {\"enable_thinking\": false}");
  table.add("template_date", options.template_date,
            "YYYY-MM-DD that the chat template sees as today; empty: today");
}

Messages read_messages(const std::string& path) {
  constexpr uint64_t max_bytes = uint64_t{64} << 20;
  const nlohmann::ordered_json json = parse_ordered_json(read_text_file(path, max_bytes), path);
  Messages result;
  if (json.is_object() && json.contains("messages")) {
    result.messages = json["messages"];
    if (json.contains("tools")) result.tools = json["tools"];
  } else {
    result.messages = json;
  }
  if (!result.messages.is_array())
    fail(ErrorKind::bad_input,
         "{}: got {}, expected a JSON array of messages, or an object with \"messages\"", path,
         json.type_name());
  for (size_t i = 0; i < result.messages.size(); ++i)
    if (!result.messages[i].is_object())
      fail(ErrorKind::bad_input, "{}: messages[{}] is {}, expected an object with role and content",
           path, i, result.messages[i].type_name());
  return result;
}

void warn_about(const AdapterSource& adapter, const ModelSource& source,
                const TokenizerSource& tokens, Console& console) {
  if (const auto warning = base_warning(adapter, source)) console.note(*warning);
  const auto trained_with = adapter.adapter.metadata.find(chat_template_key);
  if (trained_with != adapter.adapter.metadata.end() &&
      (!tokens.chat || tokens.chat->sha256 != trained_with->second))
    console.note(fmt::format("warning: {} was trained with another chat template than {} has",
                             adapter.path, source.path));
}

}  // namespace nibble::cli
