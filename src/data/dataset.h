// Rows of a JSONL file -> tokenized documents with labels.
//
// Understood here: {"text": ...}, every token trained, and {"prompt": ..., "completion": ...}, only
// the completion trained. Any other shape of row is refused by file, row and byte offset.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "text/special_tokens.h"
#include "text/tokenizer.h"

namespace nibble {

struct Document {
  std::vector<int32_t> ids;
  std::vector<int32_t> labels;  // ids[i], or -100 where the token is not trained
};

struct DatasetOptions {
  int64_t max_length = 1024;         // longer documents keep their start
  bool completion_only_loss = true;  // false: the prompt is trained too
};

struct Dataset {
  std::vector<Document> documents;
  std::string sha256;  // of the file's bytes
  int64_t tokens = 0;
  int64_t trained_tokens = 0;
  int64_t truncated_rows = 0;
  int64_t truncated_tokens = 0;  // that were cut off
  int64_t straddling_rows = 0;   // a token spans the end of the prompt; it is not trained
  int64_t longest = 0;
};

// Throws bad_input, naming row and byte offset, for a row that is not understood, is empty, or has
// nothing left to train after truncation; and for an empty file.
Dataset load_dataset(const std::filesystem::path& path, const Tokenizer& tokenizer,
                     const SpecialTokens& special, const DatasetOptions& options);

// Text -> ids as in training: the tokenizer's special tokens, then EOS unless already there.
Document tokenize_text(const std::string& text, const Tokenizer& tokenizer,
                       const SpecialTokens& special);

}  // namespace nibble
