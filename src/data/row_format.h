// The meaning of a row by its fields: JSON -> Example. docs/data.md lists the forms.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "data/example.h"

namespace nibble {

enum class RowFormat {
  automatic,
  text,               // {"text"}
  prompt_completion,  // {"prompt", "completion"}: strings, or lists of messages
  alpaca,             // {"instruction", "input"?, "output", "system"?, "history"?}
  question_answer,    // {"question", "answer"}
  sharegpt,           // {"conversations": [{"from", "value"}], "tools"?, "system"?}
  messages,           // {"messages": [{"role", "content", ...}], "tools"?}
  tokenized,          // {"input_ids", "labels"?, "attention_mask"?}
};
std::string_view row_format_name(RowFormat format);  // "prompt_completion", ...; "auto"
RowFormat parse_row_format(std::string_view name);   // throws usage

struct RowFormatOptions {
  RowFormat format = RowFormat::automatic;  // dataset_format
  std::string text_field = "text";          // dataset_text_field
  // The field with the list of messages; empty: "messages" or "conversations".
  std::string messages_field;
  // Whether the model has a chat template. Alpaca rows and questions become conversations then,
  // else a prompt in Stanford Alpaca's words.
  bool chat_template = true;
};

// The format that the fields of a row tell. Throws bad_input when they tell none or several; where
// options.format names one, that is the answer. `row` may be any JSON.
RowFormat recognize_format(const nlohmann::ordered_json& row, const RowFormatOptions& options);

// The row in Nibble's own form. Throws bad_input, naming field, what was got and what was expected
// (not the place), for a row that is not of this format.
Example to_example(nlohmann::ordered_json row, RowFormat format, const RowFormatOptions& options);

}  // namespace nibble
