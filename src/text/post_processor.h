// The `post_processor` of tokenizer.json: the ids put around a text, and trimmed offsets.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace nibble {

class PostProcessor {
 public:
  // Null, ByteLevel, TemplateProcessing, or a Sequence of these. Of a template the form for single
  // texts counts. Throws Error(bad_input) for others and for ids that no token has.
  static PostProcessor from_json(const nlohmann::json& json, const Vocabulary& vocabulary,
                                 const std::string& who);

  // `original` is the text that the offsets are of; pieces are the tokens as spelled.
  void apply(std::string_view original, const Vocabulary& vocabulary, bool add_special_tokens,
             Encoding& encoding) const;

 private:
  void add_step(const nlohmann::json& json, const Vocabulary& vocabulary, const std::string& who);
  void add_template(const nlohmann::json& json, const Vocabulary& vocabulary,
                    const std::string& who);
  void trim_offsets(std::string_view original, const Vocabulary& vocabulary,
                    Encoding& encoding) const;

  bool trims_offsets_ = false;
  bool add_prefix_space_ = false;
  bool has_template_ = false;
  std::vector<int32_t> before_, after_;
};

}  // namespace nibble
