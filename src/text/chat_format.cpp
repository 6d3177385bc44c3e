#include "text/chat_format.h"

namespace nibble {

Rendering ChatFormat::render(const nlohmann::ordered_json& messages,
                             const nlohmann::ordered_json& tools,
                             bool add_generation_prompt) const {
  RenderOptions options;
  options.tools = tools.is_null() ? nullptr : &tools;
  options.add_generation_prompt = add_generation_prompt;
  options.variables = &variables;
  options.now = now;
  return (with_tools && options.tools ? *with_tools : usual).render(messages, options);
}

}  // namespace nibble
