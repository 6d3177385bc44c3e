#include "text/post_processor.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "text/json_fields.h"
#include "text/utf8.h"

namespace nibble {

PostProcessor PostProcessor::from_json(const nlohmann::json& json, const Vocabulary& vocabulary,
                                       const std::string& who) {
  PostProcessor processor;
  if (json.is_null()) return processor;
  JsonFields fields(json, who);
  if (fields.text("type") != "Sequence") {
    processor.add_step(json, vocabulary, who);
    return processor;
  }
  for (const auto& step : fields.array("processors"))
    processor.add_step(step, vocabulary, who + ": Sequence");
  fields.done();
  return processor;
}

void PostProcessor::add_step(const nlohmann::json& json, const Vocabulary& vocabulary,
                             const std::string& who) {
  JsonFields fields(json, who);
  const std::string& type = fields.text("type");
  if (type == "TemplateProcessing") {
    add_template(json, vocabulary, who + ": TemplateProcessing");
  } else if (type == "ByteLevel") {
    if (fields.boolean("trim_offsets")) {
      if (trims_offsets_) fail(ErrorKind::bad_input, "{}: trims offsets twice", who);
      trims_offsets_ = true;
      add_prefix_space_ = fields.boolean("add_prefix_space");
    }
    fields.ignore("add_prefix_space");
    fields.ignore("use_regex");  // of the pre-tokenizer of this name only
    fields.done();
  } else {
    fail(ErrorKind::bad_input,
         "{}: the type '{}' is not supported; Nibble knows ByteLevel, TemplateProcessing and one "
         "Sequence of these",
         who, type);
  }
}

void PostProcessor::add_template(const nlohmann::json& json, const Vocabulary& vocabulary,
                                 const std::string& who) {
  if (has_template_) fail(ErrorKind::bad_input, "{}: is there twice", who);
  has_template_ = true;
  JsonFields fields(json, who);
  fields.ignore("type");
  fields.ignore("pair");
  const nlohmann::json& special_tokens = fields.require("special_tokens");
  bool seen_text = false;
  for (const auto& piece : fields.array("single")) {
    JsonFields choice(piece, who + ": single");
    if (const nlohmann::json* sequence = choice.find("Sequence")) {
      JsonFields text(*sequence, who + ": single: Sequence");
      if (seen_text || text.text("id") != "A")
        fail(ErrorKind::bad_input, "{}: single: expected the text 'A' exactly once", who);
      seen_text = true;
    } else {
      JsonFields special(choice.require("SpecialToken"), who + ": single: SpecialToken");
      JsonFields defined(special_tokens, who + ": special_tokens");
      JsonFields token(defined.require(special.text("id")), who + ": special_tokens");
      for (const auto& id : token.array("ids")) {
        if (!id.is_number_integer() || id.get<uint64_t>() > uint64_t{kMaxTokenId} ||
            !vocabulary.has_id(id.get<int32_t>()))
          fail(ErrorKind::bad_input, "{}: special_tokens: '{}': no token has the id {}", who,
               special.text("id"), id.dump());
        (seen_text ? after_ : before_).push_back(id.get<int32_t>());
      }
    }
    choice.done();
  }
  if (!seen_text) fail(ErrorKind::bad_input, "{}: single: expected the text 'A' exactly once", who);
  fields.done();
}

void PostProcessor::apply(std::string_view original, const Vocabulary& vocabulary,
                          bool add_special_tokens, Encoding& encoding) const {
  if (trims_offsets_) trim_offsets(original, vocabulary, encoding);
  if (!add_special_tokens) return;
  encoding.ids.insert(encoding.ids.begin(), before_.begin(), before_.end());
  encoding.offsets.insert(encoding.offsets.begin(), before_.size(), {0, 0});
  encoding.ids.insert(encoding.ids.end(), after_.begin(), after_.end());
  encoding.offsets.insert(encoding.offsets.end(), after_.size(), {0, 0});
}

// A token's offsets lose as many characters as it has leading and trailing spaces, except a space
// that add_prefix_space put before the first word.
void PostProcessor::trim_offsets(std::string_view original, const Vocabulary& vocabulary,
                                 Encoding& encoding) const {
  const auto is_space = [](char32_t c) { return c == 0x120 || is_white_space(c); };  // U+0120: Ġ
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    const std::string_view token = vocabulary.token_of(encoding.ids[i]);
    auto& [begin, end] = encoding.offsets[i];
    size_t leading = 0;
    for (size_t k = 0; k < token.size() && is_space(decode_utf8(token, k)); ++leading)
      k += utf8_length(token[k]);
    size_t trailing = 0;
    for (size_t k = token.size(); k > 0 && is_space(decode_utf8(token, previous_utf8(token, k)));
         ++trailing)
      k = previous_utf8(token, k);

    const bool first = i == 0 || begin == 0;
    if (first && add_prefix_space_ && leading == 1) leading = 0;
    for (; leading > 0 && begin < end; --leading)
      begin += static_cast<uint32_t>(utf8_length(original[begin]));
    for (; trailing > 0 && end > begin; --trailing)
      end = static_cast<uint32_t>(previous_utf8(original, end));
  }
}

}  // namespace nibble
