// The `normalizer` of tokenizer.json: rewrites each stretch of text between added tokens.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <variant>
#include <vector>

#include "text/normal_forms.h"
#include "text/normalized_text.h"
#include "text/pattern.h"
#include "text/unicode_tables.h"

namespace nibble {

class Normalizer {
 public:
  // Null, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Prepend, Append, Replace, Nmt,
  // BertNormalizer, ByteLevel, or Sequences of these. Throws Error(bad_input) for others.
  static Normalizer from_json(const nlohmann::json& json, const std::string& who);

  // Throws Error(bad_input) when the text would grow beyond growth_limit.
  NormalizedText apply(NormalizedText text) const;
  bool empty() const { return steps_.empty(); }

 private:
  struct Lowercase {};
  struct Remove {
    CharacterClass characters;
  };
  struct ToSpace {  // each of these characters becomes a space
    CharacterClass characters;
  };
  struct Strip {
    bool left, right;
  };
  struct Prepend {
    std::string text;
  };
  struct Append {
    std::string text;
  };
  struct Replace {
    Pattern pattern;
    std::string content;
  };
  struct SpaceChinese {};  // BertNormalizer: spaces around each ideograph
  struct SpellBytes {};
  using Step = std::variant<NormalForm, Lowercase, Remove, ToSpace, Strip, Prepend, Append, Replace,
                            SpaceChinese, SpellBytes>;

  void add_steps(const nlohmann::json& json, const std::string& who, int depth);
  void add_bert(const nlohmann::json& json, const std::string& who);
  void add_nmt();
  NormalizedText apply(const Step& step, NormalizedText text, size_t max_bytes) const;

  std::string who_;
  std::vector<Step> steps_;
};

// Every byte as the character that spells it (byte_level.h); all of one character's stand for it.
NormalizedText spell_bytes(const NormalizedText& text);

}  // namespace nibble
