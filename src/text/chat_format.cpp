#include "text/chat_format.h"

#include <algorithm>
#include <array>

namespace nibble {
namespace {

using Json = nlohmann::ordered_json;

// The names that a message's reasoning goes by; the first that is there holds it.
constexpr std::array reasoning_fields = {"reasoning_content", "thinking", "reasoning"};

// Null where the message holds none.
const Json* reasoning_of(const Json& message) {
  if (!message.is_object()) return nullptr;
  for (const char* name : reasoning_fields)
    if (const auto field = message.find(name); field != message.end() && !field->is_null())
      return &*field;
  return nullptr;
}

// As transformers' _alias_reasoning_fields: templates read one of two names, whichever the data
// has. "thinking" comes first among the keys, even where the message has one of its own.
Json with_reasoning_names(const Json& message, const Json& reasoning) {
  Json named = {{"thinking", reasoning}};
  for (const auto& [key, value] : message.items()) named[key] = value;
  named["reasoning_content"] = reasoning;
  return named;
}

}  // namespace

Rendering ChatFormat::render(const nlohmann::ordered_json& messages,
                             const nlohmann::ordered_json& tools,
                             bool add_generation_prompt) const {
  RenderOptions options;
  options.tools = tools.is_null() ? nullptr : &tools;
  options.add_generation_prompt = add_generation_prompt;
  options.variables = &variables;
  options.now = now;
  const ChatTemplate& used = with_tools && options.tools ? *with_tools : usual;
  if (!messages.is_array() || std::none_of(messages.begin(), messages.end(), reasoning_of))
    return used.render(messages, options);
  Json named = Json::array();
  for (const Json& message : messages) {
    const Json* reasoning = reasoning_of(message);
    named.push_back(reasoning ? with_reasoning_names(message, *reasoning) : message);
  }
  return used.render(named, options);
}

}  // namespace nibble
