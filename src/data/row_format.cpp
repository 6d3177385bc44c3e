#include "data/row_format.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "data/chat_messages.h"
#include "data/row_fields.h"

namespace nibble {
namespace {

using Json = nlohmann::ordered_json;

struct NamedFormat {
  RowFormat format;
  const char* name;
};
constexpr std::array formats = {
    NamedFormat{RowFormat::automatic, "auto"},
    NamedFormat{RowFormat::text, "text"},
    NamedFormat{RowFormat::prompt_completion, "prompt_completion"},
    NamedFormat{RowFormat::alpaca, "alpaca"},
    NamedFormat{RowFormat::question_answer, "question_answer"},
    NamedFormat{RowFormat::sharegpt, "sharegpt"},
    NamedFormat{RowFormat::messages, "messages"},
    NamedFormat{RowFormat::tokenized, "tokenized"},
};

// Stanford Alpaca's prompts: with an input, and without.
constexpr char alpaca_prompt[] =
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n{}\n\n### Response:\n";
constexpr char alpaca_prompt_with_input[] =
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n### "
    "Instruction:\n{}\n\n### Input:\n{}\n\n### Response:\n";

bool has(const Json& row, const std::string& key) { return find_value(row, key) != nullptr; }

std::string field_names(const Json& row) {
  std::string names;
  for (const auto& item : row.items()) {
    if (names.size() > 200) return names + ", ...";
    names += (names.empty() ? "" : ", ") + item.key();
  }
  return names;
}

std::string optional_string(const Json& row, const std::string& key) {
  return has(row, key) ? string_at(row, key, key) : "";
}

Example empty_conversation() {
  Example example;
  example.kind = Example::Kind::conversation;
  example.messages = Json::array();
  return example;
}

Example prompt_and_completion(std::string prompt, std::string completion) {
  Example example;
  example.kind = Example::Kind::prompt_completion;
  example.text = std::move(prompt);
  example.completion = std::move(completion);
  return example;
}

void add_message(Json& messages, const char* role, std::string content) {
  messages.push_back(Json::object({{"role", role}, {"content", std::move(content)}}));
}

void prepend_system(const Json& row, Example& example) {
  const std::string system = optional_string(row, "system");
  if (system.empty()) return;
  if (example.messages[0]["role"] == "system")
    fail(ErrorKind::bad_input,
         "system: the row has a system field and a system message, expected one of them");
  Json message = Json::object({{"role", "system"}, {"content", system}});
  example.messages.insert(example.messages.begin(), std::move(message));
  example.train.insert(example.train.begin(), std::nullopt);
}

// Says nothing about training where no message does.
void drop_empty_train(Example& example) {
  if (std::ranges::none_of(example.train, [](auto t) { return t.has_value(); }))
    example.train.clear();
}

Example conversation(Json& row, const std::string& field) {
  const auto list = row.find(field);
  if (list == row.end())
    fail(ErrorKind::bad_input, "{}: the field is missing, expected a list of messages", field);
  Example example = empty_conversation();
  append_messages(std::move(*list), field, example);
  prepend_system(row, example);
  if (const Json* tools = find_value(row, "tools")) example.tools = read_tools(*tools, "tools");
  drop_empty_train(example);
  return example;
}

Example prompt_completion(Json& row) {
  const auto prompt = row.find("prompt"), completion = row.find("completion");
  if (prompt == row.end() || completion == row.end())
    fail(ErrorKind::bad_input, "{}: the field is missing, expected a string or a list of messages",
         prompt == row.end() ? "prompt" : "completion");
  if (!prompt->is_array() && !completion->is_array()) {
    return prompt_and_completion(string_at(row, "prompt", "prompt"),
                                 string_at(row, "completion", "completion"));
  }
  Example example = empty_conversation();
  append_messages(std::move(*prompt), "prompt", example);
  example.prompt_messages = example.messages.size();
  append_messages(std::move(*completion), "completion", example);
  if (const Json* tools = find_value(row, "tools")) example.tools = read_tools(*tools, "tools");
  drop_empty_train(example);
  return example;
}

Example alpaca_text(const std::string& instruction, const std::string& input,
                    const std::string& output) {
  return prompt_and_completion(input.empty()
                                   ? fmt::format(alpaca_prompt, instruction)
                                   : fmt::format(alpaca_prompt_with_input, instruction, input),
                               output);
}

Example alpaca(const Json& row, const RowFormatOptions& options) {
  const std::string& instruction = string_at(row, "instruction", "instruction");
  const std::string& output = string_at(row, "output", "output");
  const std::string input = optional_string(row, "input");
  const std::string system = optional_string(row, "system");
  const Json* history = find_value(row, "history");
  if (history && !history->is_array())
    refuse_field("history", *history, "a list of pairs of question and answer");
  if (!options.chat_template) {
    if (!system.empty() || (history && !history->empty()))
      fail(ErrorKind::bad_input,
           "{}: needs a model with a chat template: Alpaca's prompt has no place for it",
           system.empty() ? "history" : "system");
    return alpaca_text(instruction, input, output);
  }
  Example example = empty_conversation();
  if (!system.empty()) add_message(example.messages, "system", system);
  for (size_t i = 0; history && i < history->size(); ++i) {
    const Json& turn = (*history)[i];
    if (!turn.is_array() || turn.size() != 2 || !turn[0].is_string() || !turn[1].is_string())
      refuse_field(fmt::format("history[{}]", i), turn, "a pair of two strings");
    add_message(example.messages, "user", turn[0].get<std::string>());
    add_message(example.messages, "assistant", turn[1].get<std::string>());
  }
  add_message(example.messages, "user", input.empty() ? instruction : instruction + "\n\n" + input);
  add_message(example.messages, "assistant", output);
  return example;
}

Example question_answer(const Json& row, const RowFormatOptions& options) {
  const std::string& question = string_at(row, "question", "question");
  const std::string& answer = string_at(row, "answer", "answer");
  if (!options.chat_template) return alpaca_text(question, "", answer);
  Example example = empty_conversation();
  add_message(example.messages, "user", question);
  add_message(example.messages, "assistant", answer);
  return example;
}

const Json& list_at(const Json& row, const char* key) {
  const auto found = row.find(key);
  if (found == row.end())
    fail(ErrorKind::bad_input, "{}: the field is missing, expected a list of integers", key);
  if (!found->is_array()) refuse_field(key, *found, "a list of integers");
  return *found;
}

Example tokenized(const Json& row) {
  Example example;
  example.kind = Example::Kind::tokenized;
  const Json& ids = list_at(row, "input_ids");
  if (ids.empty()) fail(ErrorKind::bad_input, "input_ids: the list is empty");
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!ids[i].is_number_unsigned() || ids[i].get<uint64_t>() > INT32_MAX)
      refuse_field(fmt::format("input_ids[{}]", i), ids[i], "a token id");
    example.ids.push_back(ids[i].get<int32_t>());
  }
  const auto same_length = [&](const Json& list, const char* key) {
    if (list.size() != ids.size())
      fail(ErrorKind::bad_input, "{}: got {} entries, expected {} as in input_ids", key,
           list.size(), ids.size());
  };
  example.labels = example.ids;
  if (has(row, "labels")) {
    const Json& labels = list_at(row, "labels");
    same_length(labels, "labels");
    for (size_t i = 0; i < labels.size(); ++i) {
      if (labels[i] == -100) {
        example.labels[i] = -100;
      } else if (labels[i] != ids[i]) {
        refuse_field(fmt::format("labels[{}]", i), labels[i],
                     fmt::format("-100, or {} as in input_ids", example.ids[i]));
      }
    }
  }
  if (has(row, "attention_mask")) {
    const Json& mask = list_at(row, "attention_mask");
    same_length(mask, "attention_mask");
    for (size_t i = 0; i < mask.size(); ++i)
      if (mask[i] != 1)
        refuse_field(fmt::format("attention_mask[{}]", i), mask[i],
                     "1: padding has no place in a row");
  }
  return example;
}

}  // namespace

std::string_view row_format_name(RowFormat format) {
  return formats[static_cast<size_t>(format)].name;
}

RowFormat parse_row_format(std::string_view name) {
  std::vector<const char*> names;
  for (const NamedFormat& format : formats) {
    if (format.name == name) return format.format;
    names.push_back(format.name);
  }
  fail(ErrorKind::usage, "dataset_format: got \"{}\", expected {}", name, fmt::join(names, ", "));
}

RowFormat recognize_format(const Json& row, const RowFormatOptions& options) {
  if (!row.is_object())
    fail(ErrorKind::bad_input, "the row is {}, expected an object", describe(row));
  if (options.format != RowFormat::automatic) return options.format;
  std::vector<RowFormat> found;
  const auto consider = [&](RowFormat format, bool present) {
    if (present) found.push_back(format);
  };
  const bool renamed = !options.messages_field.empty();
  consider(RowFormat::messages, has(row, renamed ? options.messages_field : "messages"));
  consider(RowFormat::sharegpt, !renamed && has(row, "conversations"));
  consider(RowFormat::prompt_completion, has(row, "prompt") && has(row, "completion"));
  const bool is_alpaca = has(row, "instruction") && has(row, "output");
  consider(RowFormat::alpaca, is_alpaca);
  consider(RowFormat::question_answer, has(row, "question") && has(row, "answer"));
  consider(RowFormat::tokenized, has(row, "input_ids"));
  // Stanford's own Alpaca rows hold the rendered whole as "text", too.
  consider(RowFormat::text, !is_alpaca && has(row, options.text_field));
  if (found.size() == 1) return found[0];
  if (has(row, "chosen") && has(row, "rejected") && found.empty())
    fail(ErrorKind::bad_input,
         "the row holds preferences (chosen, rejected), which Nibble does not train on");
  if (found.empty())
    fail(ErrorKind::bad_input,
         "the row has the fields ({}), expected those of one form: {}; prompt and completion; "
         "instruction and output; question and answer; conversations; messages; or input_ids",
         field_names(row), options.text_field);
  fail(ErrorKind::bad_input,
       "the row has the fields ({}), which are {} and {} at once; choose with dataset_format",
       field_names(row), row_format_name(found[0]), row_format_name(found[1]));
}

Example to_example(Json row, RowFormat format, const RowFormatOptions& options) {
  if (!row.is_object())
    fail(ErrorKind::bad_input, "the row is {}, expected an object", describe(row));
  const std::string& field = options.messages_field;
  switch (format) {
    case RowFormat::text: {
      Example example;
      example.text = string_at(row, options.text_field, options.text_field);
      if (example.text.empty())
        fail(ErrorKind::bad_input, "{}: the row has no text", options.text_field);
      return example;
    }
    case RowFormat::prompt_completion:
      return prompt_completion(row);
    case RowFormat::alpaca:
      return alpaca(row, options);
    case RowFormat::question_answer:
      return question_answer(row, options);
    case RowFormat::sharegpt:
      return conversation(row, field.empty() ? "conversations" : field);
    case RowFormat::messages:
      return conversation(row, field.empty() ? "messages" : field);
    case RowFormat::tokenized:
      return tokenized(row);
    case RowFormat::automatic:
      return to_example(std::move(row), recognize_format(row, options), options);
  }
  fail(ErrorKind::internal, "to_example: unknown format {}", static_cast<int>(format));
}

}  // namespace nibble
