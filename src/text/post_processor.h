// The `post_processor` of tokenizer.json: the ids put around a text, and trimmed offsets.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace nibble {

// An added token that stands for more than its content: the white space taken along.
struct WidenedToken {
  size_t index;      // in the encoding
  std::string text;  // what it stands for
};

class PostProcessor {
 public:
  // Null, ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing, or Sequences of these,
  // of which one at most adds ids. Of a template the form for single texts counts. Throws
  // Error(bad_input) for others and for ids that no token has.
  static PostProcessor from_json(const nlohmann::json& json, const Vocabulary& vocabulary,
                                 const std::string& who);

  // `original` is the text that the offsets are of; `widened` is in the order of the encoding.
  void apply(std::string_view original, const Vocabulary& vocabulary, bool add_special_tokens,
             const std::vector<WidenedToken>& widened, Encoding& encoding) const;

 private:
  struct TrimOffsets {
    bool add_prefix_space;
  };
  struct Surround {
    std::vector<int32_t> before, after;
    bool apart = false;  // the text keeps a first token of its own
  };
  using Step = std::variant<TrimOffsets, Surround>;

  void add_steps(const nlohmann::json& json, const Vocabulary& vocabulary, const std::string& who,
                 int depth);
  void add_template(const nlohmann::json& json, const Vocabulary& vocabulary,
                    const std::string& who);
  void add_surround(Surround surround, const std::string& who);

  std::vector<Step> steps_;
};

}  // namespace nibble
