// The tokenizer of a model folder, with its special tokens.
#pragma once

#include <string>

#include "files/model_dir.h"
#include "text/special_tokens.h"
#include "text/tokenizer.h"
#include "transformer/model_spec.h"

namespace nibble {

struct TokenizerSource {
  Tokenizer tokenizer;
  SpecialTokens special;
  std::string sha256;  // of tokenizer.json

  // Throws bad_input when the folder has no tokenizer.json, or one that Nibble does not understand.
  static TokenizerSource open(const std::filesystem::path& folder);
};

// Throws bad_input when the tokenizer has ids beyond the model's embedding.
void check_vocabulary(const Tokenizer& tokenizer, const ModelSpec& spec);

}  // namespace nibble
