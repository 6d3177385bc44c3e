// Options of chat templates, and files that hold messages.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "cli/console.h"
#include "cli/option_table.h"
#include "train/chat_source.h"
#include "train/tokenizer_source.h"
#include "transformer/inference_model.h"

namespace nibble::cli {

void add_chat_options(OptionTable& table, ChatOptions& options);

struct Messages {
  nlohmann::ordered_json messages;  // an array of objects
  nlohmann::ordered_json tools;     // an array, or null
};

// A JSON array of messages, or an object with "messages" and perhaps "tools". Throws bad_input.
Messages read_messages(const std::string& path);

// Notes where the adapter was trained on other weights, or with another chat template.
void warn_about(const AdapterSource& adapter, const ModelSource& source,
                const TokenizerSource& tokens, Console& console);

}  // namespace nibble::cli
