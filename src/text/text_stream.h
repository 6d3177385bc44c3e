// Ids -> text, one id at a time: only whole characters come out, and what came out never changes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace nibble {

class TextStream {
 public:
  // `prompt` is what the new ids follow; its own text does not come out. It decides whether a
  // leading space is kept.
  TextStream(const Tokenizer& tokenizer, std::vector<int32_t> prompt);

  // Text that is now certain; empty while a character is incomplete. Special tokens give none.
  std::string add(int32_t id);
  // What is left: an incomplete character, as U+FFFD.
  std::string finish();

 private:
  std::string flush(bool incomplete_too);

  const Tokenizer& tokenizer_;
  std::vector<int32_t> window_;  // ids that still matter: those told at the last output, and since
  size_t told_ = 0;              // of the window, ids whose text is out
};

}  // namespace nibble
