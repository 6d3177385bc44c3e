// The `pre_tokenizer` of tokenizer.json: cuts normalized text into the words that the model sees.
#pragma once

#include <deque>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <variant>
#include <vector>

#include "text/normalized_text.h"
#include "text/pattern.h"

namespace nibble {

// Non-empty parts of texts, in order. The deque owns the texts, whose addresses stay.
struct Words {
  struct Word {
    const NormalizedText* text;
    Match range;
  };
  std::deque<NormalizedText> texts;
  std::vector<Word> list;
};

class PreTokenizer {
 public:
  // Null, ByteLevel, Split, Metaspace, Digits, Whitespace, WhitespaceSplit, Punctuation,
  // BertPreTokenizer, CharDelimiterSplit, FixedLength, or Sequences of these. Throws
  // Error(bad_input) for others.
  static PreTokenizer from_json(const nlohmann::json& json, const std::string& who);

  // `text` as it is after the added tokens have been cut out.
  Words apply(NormalizedText text) const;

  // Ends in ByteLevel: the words are bytes, and each is to be spelled as one printable character
  // (byte_level.h) before the model sees it.
  bool byte_level() const { return byte_level_; }

 private:
  struct Split {
    Pattern pattern;
    SplitBehavior behavior;
    bool invert;
  };
  struct Chunks {  // FixedLength
    size_t characters;
  };
  struct PrefixSpace {};  // ByteLevel's add_prefix_space
  struct SpellBytes {};   // ByteLevel, where it is not the last
  enum class PrefixScheme { always, first, never };
  struct SpaceMark {  // Metaspace without its split
    std::string mark;
    PrefixScheme scheme;
  };
  using Step = std::variant<Split, Chunks, PrefixSpace, SpellBytes, SpaceMark>;

  void add_steps(const nlohmann::json& json, const std::string& who, int depth);
  void add_byte_level(const nlohmann::json& json, const std::string& who);
  void add_metaspace(const nlohmann::json& json, const std::string& who);
  static void cut(const Split& split, Words& words);
  static void cut(const Chunks& chunks, Words& words);

  std::vector<Step> steps_;
  bool byte_level_ = false;
};

}  // namespace nibble
