// A document as it is trained: its text, with what is trained marked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset_loader.h"
#include "text/tokenizer.h"

namespace nibble::cli {

// Consecutive tokens that are all trained, or all not.
struct Stretch {
  std::string text;
  bool trained = false;
  int64_t tokens = 0;
};
std::vector<Stretch> stretches_of(const TokenizedDataset& data, int64_t document,
                                  const Tokenizer& tokenizer);

// Its first tokens to stdout: in colour on a terminal, else with >> and << around what is trained.
void print_document(const TokenizedDataset& data, int64_t document, const Tokenizer& tokenizer,
                    int64_t most_tokens);

}  // namespace nibble::cli
