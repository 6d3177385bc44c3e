// The chat template of a model folder, found where transformers finds it.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "text/chat_format.h"

namespace nibble {

// Where an adapter's metadata says with which template (ChatFormat::sha256) it was trained.
constexpr const char* chat_template_key = "chat_template_sha256";

struct ChatOptions {
  std::string chat_template_path;    // a .jinja file, or a model folder; empty: the model's own
  std::string chat_template_kwargs;  // a JSON object: {"enable_thinking": false}
  std::string template_date;         // YYYY-MM-DD that templates see as today; empty: today
};

// In this order: chat_template_path; chat_template.jinja (and additional_chat_templates/
// tool_use.jinja); chat_template of tokenizer_config.json, one or a list of named ones. None:
// empty. `tokenizer_config`, null where there is none, gives bos_token and the like to the
// template. Throws Error(bad_input) for a template that does not parse, usage for options that do
// not.
std::optional<ChatFormat> read_chat_format(const std::filesystem::path& folder,
                                           const nlohmann::json* tokenizer_config,
                                           const ChatOptions& options);

}  // namespace nibble
