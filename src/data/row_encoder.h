// Examples -> token ids and labels. A row's text is tokenized whole; what is trained is known by
// place in the text, never by token id.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "data/conversation.h"
#include "data/encoded_row.h"
#include "data/example.h"
#include "text/chat_format.h"
#include "text/special_tokens.h"
#include "text/tokenizer.h"

namespace nibble {

// What becomes of a row longer than max_length. `refuse` keeps its start, as keep_start does, but
// counts it as Guard::answer_cut where trained tokens or the end are lost.
enum class TruncationMode { refuse, drop, keep_start, keep_end, split };

struct EncodeOptions {
  int64_t max_length = 1024;
  TruncationMode truncation_mode = TruncationMode::refuse;
  bool completion_only_loss = true;  // false: the prompt of prompt/completion rows is trained too
  TurnOptions turns;
  // Added tokens that a message or a tool spells are text (transformers' name), unless they are not
  // `special` and stand in an assistant's message (<think>). False: they become those tokens.
  bool split_special_tokens = true;
  // Leave out documents of which nothing is trained; they are found and counted all the same.
  bool drop_untrained = false;
};

// All members may be called from several threads at once.
class RowEncoder {
 public:
  // What is passed is read as long as the encoder lives. `format`: null where the model has no
  // chat template; then a conversation is an error that says so. Ids of tokenized rows must be
  // below vocab_size.
  RowEncoder(const Tokenizer& tokenizer, const SpecialTokens& special, const ChatFormat* format,
             int64_t vocab_size, const EncodeOptions& options);

  // Throws Error(bad_input), without naming the row, for one that cannot be encoded.
  EncodedRow encode(const Example& example) const;

  // Everything but the tokenizer that the result depends on.
  std::string identity() const;

 private:
  Document text(const std::string& text, size_t prompt_bytes, EncodedRow& row) const;
  Document conversation(const TrainedText& text, const Example& example, EncodedRow& row) const;
  Document tokenized(const Example& example) const;
  void check(const Document& document, EncodedRow& row) const;
  void fit(Document document, EncodedRow& row) const;

  const Tokenizer& tokenizer_;
  const SpecialTokens& special_;
  const ChatFormat* format_;
  int64_t vocab_size_;
  EncodeOptions options_;
  int32_t eos_;
};

}  // namespace nibble
