// The `normalizer` of tokenizer.json: rewrites each stretch of text between added tokens.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/normalized_text.h"
#include "text/pattern.h"

namespace nibble {

class Normalizer {
 public:
  // Null, NFC, Prepend, Replace, or a Sequence of these. Throws Error(bad_input) for others.
  static Normalizer from_json(const nlohmann::json& json, const std::string& who);

  // Throws Error(bad_input) when the text would grow beyond growth_limit.
  NormalizedText apply(NormalizedText text) const;
  bool empty() const { return steps_.empty(); }

 private:
  struct Nfc {};
  struct Prepend {
    std::string text;
  };
  struct Replace {
    Pattern pattern;
    std::string content;
  };
  using Step = std::variant<Nfc, Prepend, Replace>;

  static Step step_from_json(const nlohmann::json& json, const std::string& who);
  std::string who_;
  std::vector<Step> steps_;
};

// Canonical composition (NFC). A composed character stands for the first of those that it is
// composed of, as in `tokenizers`.
NormalizedText to_nfc(NormalizedText text);

// `prefix` before the first character, standing for the same original bytes; empty text stays.
NormalizedText prepend(const NormalizedText& text, std::string_view prefix);

// Each match replaced by `content`, which stands for the last original character of the match.
// Nothing if that would make more than max_bytes.
std::optional<NormalizedText> replace_all(NormalizedText text, const Pattern& pattern,
                                          std::string_view content, size_t max_bytes);

}  // namespace nibble
