// The `pre_tokenizer` of tokenizer.json: cuts normalized text into the words that the model sees.
#pragma once

#include <deque>
#include <nlohmann/json_fwd.hpp>
#include <optional>
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
  // Null, ByteLevel, Split, Metaspace, Digits, or a Sequence of these (ByteLevel last). Throws
  // Error(bad_input) for others.
  static PreTokenizer from_json(const nlohmann::json& json, const std::string& who);

  Words apply(NormalizedText text) const;

  // Ends in ByteLevel: the model's symbols are bytes, each spelled as one printable character.
  bool byte_level() const { return byte_level_; }

 private:
  struct Split {
    Pattern pattern;
    SplitBehavior behavior;
    bool invert;
  };
  struct PrefixSpace {};  // ByteLevel's add_prefix_space
  enum class PrefixScheme { always, first, never };
  struct SpaceMark {  // Metaspace without its split
    Pattern space;
    std::string mark;
    PrefixScheme scheme;
  };
  using Step = std::variant<Split, PrefixSpace, SpaceMark>;

  void add_step(const nlohmann::json& json, const std::string& who);
  void add_byte_level(const nlohmann::json& json, const std::string& who);
  void add_metaspace(const nlohmann::json& json, const std::string& who);

  std::vector<Step> steps_;
  bool byte_level_ = false;
};

}  // namespace nibble
