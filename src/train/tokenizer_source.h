// The tokenizer of a model folder, with its special tokens and its chat template.
#pragma once

#include <future>
#include <optional>
#include <string>

#include "files/model_dir.h"
#include "text/chat_format.h"
#include "text/special_tokens.h"
#include "text/tokenizer.h"
#include "train/chat_source.h"
#include "transformer/model_spec.h"

namespace nibble {

struct TokenizerSource {
  Tokenizer tokenizer;
  SpecialTokens special;
  std::string sha256;              // of tokenizer.json
  std::optional<ChatFormat> chat;  // none: the model has no chat template

  // Throws bad_input when the folder has no tokenizer.json, or one that Nibble does not understand,
  // or such a chat template.
  static TokenizerSource open(const std::filesystem::path& folder, const ChatOptions& chat = {});
  // The same beside other work: a large tokenizer takes as long to read as a GPU to open.
  static std::future<TokenizerSource> begin_open(std::filesystem::path folder, ChatOptions chat);
};

// Throws bad_input when the tokenizer has ids beyond the model's embedding.
void check_vocabulary(const Tokenizer& tokenizer, const ModelSpec& spec);

}  // namespace nibble
