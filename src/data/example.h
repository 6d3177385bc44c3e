// A row of a dataset, whatever its file format and field names, in one of four forms.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace nibble {

struct Example {
  enum class Kind { text, prompt_completion, conversation, tokenized };
  Kind kind = Kind::text;

  std::string text;        // text: the document; prompt_completion: the prompt
  std::string completion;  // prompt_completion

  // conversation: an array of objects with "role" and what the template reads ("content",
  // "tool_calls", ...), and the tools that the row offers (null: none). The first prompt_messages
  // are a prompt that is never trained.
  nlohmann::ordered_json messages, tools;
  size_t prompt_messages = 0;
  // For each message what the row itself says by "train" or "weight"; empty: nothing is said.
  std::vector<std::optional<bool>> train;

  std::vector<int32_t> ids, labels;  // tokenized: of equal length; a label is its id or -100
};

}  // namespace nibble
