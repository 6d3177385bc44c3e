// Conversations and flags that template tests share with tools/make_template_goldens.py.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/data.h"
#include "text/chat_template.h"

namespace nibble::test {

using OrderedJson = nlohmann::ordered_json;

inline constexpr int64_t kTemplateClock = 1752148800;  // 2025-07-10 12:00 UTC

inline OrderedJson read_ordered_json(const std::filesystem::path& path) {
  return OrderedJson::parse(read_file(path));
}

// What a template is rendered with: an object of messages and perhaps tools, documents, variables.
struct TemplateCase {
  explicit TemplateCase(const OrderedJson& conversation, bool prompt)
      : messages(conversation.value("messages", OrderedJson::array())),
        tools(conversation.value("tools", OrderedJson())),
        documents(conversation.value("documents", OrderedJson())),
        variables(OrderedJson{{"bos_token", "<s>"},
                              {"eos_token", "</s>"},
                              {"pad_token", "<pad>"},
                              {"unk_token", "<unk>"}}),
        add_generation_prompt(prompt) {
    variables.update(conversation.value("variables", OrderedJson::object()));
  }

  Rendering render(const ChatTemplate& chat_template) const {
    RenderOptions options;
    if (!tools.is_null()) options.tools = &tools;
    if (!documents.is_null()) options.documents = &documents;
    options.variables = &variables;
    options.add_generation_prompt = add_generation_prompt;
    options.now = kTemplateClock;
    return chat_template.render(messages, options);
  }

  OrderedJson messages, tools, documents, variables;
  bool add_generation_prompt;
};

// Each conversation of conversations.json, without and with generation prompt.
inline std::vector<TemplateCase> template_cases() {
  std::vector<TemplateCase> cases;
  for (const OrderedJson& conversation :
       read_ordered_json(golden("text/jinja/conversations.json"))) {
    for (const bool prompt : {false, true}) cases.emplace_back(conversation, prompt);
  }
  return cases;
}

}  // namespace nibble::test
