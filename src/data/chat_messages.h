// Messages and tools of a row, in OpenAI's words or ShareGPT's, made what chat templates read:
// {"role", "content", ...}.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "data/example.h"

namespace nibble {

// Appends the messages of `list` to example.messages and what they say by "train", "weight" or
// "loss_weight" to example.train. `path` names the list in errors, which are bad_input.
//
// ShareGPT's speakers become roles, and its function_call becomes an assistant message with
// tool_calls. Content that is a list of text parts becomes one string. A field that is null is left
// out, except the content of an assistant that calls tools.
void append_messages(nlohmann::ordered_json list, const std::string& path, Example& example);

// A "tools" field: a list of functions, or such a list as JSON text, into the form
// [{"type": "function", "function": {"name", ...}}]; null where there are none.
nlohmann::ordered_json read_tools(const nlohmann::ordered_json& tools, const std::string& path);

}  // namespace nibble
