// How a model writes a conversation: its chat template with everything the template sees.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "text/chat_template.h"

namespace nibble {

struct ChatFormat {
  ChatTemplate usual;
  std::optional<ChatTemplate> with_tools;  // "tool_use", where a folder has one of its own
  nlohmann::ordered_json variables;        // bos_token, eos_token, ..., and chat_template_kwargs
  std::string sha256;                      // of the template's source
  // What strftime_now sees, fixed for a run: seconds since 1970, UTC, and that day as YYYY-MM-DD.
  // 0 and empty where the template reads no clock.
  int64_t now = 0;
  std::string date;

  // `tools`: null where there are none. A message's reasoning (reasoning_content, else thinking,
  // else reasoning) is shown to the template as reasoning_content and as thinking, as transformers
  // does. Throws Error(bad_input) where the template raises.
  Rendering render(const nlohmann::ordered_json& messages, const nlohmann::ordered_json& tools,
                   bool add_generation_prompt) const;
};

}  // namespace nibble
