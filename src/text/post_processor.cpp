#include "text/post_processor.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "text/json_fields.h"
#include "text/utf8.h"

namespace nibble {
namespace {

constexpr int kPostProcessorDepth = 4;      // of Sequences in Sequences
constexpr size_t kPostProcessorSteps = 64;  // each reads all tokens

int32_t existing_id(const nlohmann::json& id, const Vocabulary& vocabulary,
                    const std::string& who) {
  if (!id.is_number_integer() || id.get<uint64_t>() > uint64_t{kMaxTokenId} ||
      !vocabulary.has_id(id.get<int32_t>()))
    fail(ErrorKind::bad_input, "{}: no token has the id {}", who, id.dump());
  return id.get<int32_t>();
}

// ["</s>", 2]
int32_t named_id(const nlohmann::json& pair, const Vocabulary& vocabulary, const std::string& who) {
  if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string())
    fail(ErrorKind::bad_input, "{}: got {}, expected a token and its id", who,
         pair.dump().substr(0, 80));
  return existing_id(pair[1], vocabulary, who);
}

// A token's offsets lose as many characters as it has leading and trailing spaces, except a space
// that add_prefix_space put before the first word. `shift` tokens have been put before the text;
// number `first` begins the sequence.
void trim(std::string_view original, const Vocabulary& vocabulary, bool add_prefix_space,
          const std::vector<WidenedToken>& widened, size_t shift, size_t first,
          Encoding& encoding) {
  const auto is_space = [](char32_t c) { return c == 0x120 || is_white_space(c); };  // U+0120: Ġ
  auto wide = widened.begin();
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    std::string_view token = vocabulary.token_of(encoding.ids[i]);
    if (wide != widened.end() && wide->index + shift == i) token = (wide++)->text;
    auto& [begin, end] = encoding.offsets[i];
    size_t leading = 0;
    for (size_t k = 0; k < token.size() && is_space(decode_utf8(token, k)); ++leading)
      k += utf8_length(token[k]);
    size_t trailing = 0;
    for (size_t k = token.size(); k > 0 && is_space(decode_utf8(token, previous_utf8(token, k)));
         ++trailing)
      k = previous_utf8(token, k);

    const bool is_first = i == first || begin == 0;
    if (is_first && add_prefix_space && leading == 1) leading = 0;
    for (; leading > 0 && begin < end; --leading)
      begin += static_cast<uint32_t>(utf8_length(original[begin]));
    size_t trimmed = end;
    for (; trailing > 0 && trimmed > 0; --trailing) trimmed = previous_utf8(original, trimmed);
    if (trailing == 0) end = std::max(begin, static_cast<uint32_t>(trimmed));
  }
}

}  // namespace

PostProcessor PostProcessor::from_json(const nlohmann::json& json, const Vocabulary& vocabulary,
                                       const std::string& who) {
  PostProcessor processor;
  if (json.is_null()) return processor;
  processor.add_steps(json, vocabulary, who, 0);
  if (processor.steps_.size() > kPostProcessorSteps)
    fail(ErrorKind::bad_input, "{}: {} steps, at most {} are accepted", who,
         processor.steps_.size(), kPostProcessorSteps);
  return processor;
}

void PostProcessor::add_steps(const nlohmann::json& json, const Vocabulary& vocabulary,
                              const std::string& who, int depth) {
  JsonFields fields(json, who);
  const std::string& type = fields.text("type");
  const std::string inside = who + ": " + type;
  if (type == "Sequence") {
    if (depth == kPostProcessorDepth)
      fail(ErrorKind::bad_input, "{}: too many Sequences in Sequences", who);
    for (const auto& step : fields.array("processors"))
      add_steps(step, vocabulary, inside, depth + 1);
  } else if (type == "TemplateProcessing") {
    add_template(json, vocabulary, inside);
    return;
  } else if (type == "ByteLevel") {
    const bool add_prefix_space = fields.boolean("add_prefix_space");
    if (fields.boolean("trim_offsets")) steps_.push_back(TrimOffsets{add_prefix_space});
    fields.ignore("use_regex");  // of the pre-tokenizer of this name only
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    if (type == "RobertaProcessing") {
      const bool add_prefix_space = fields.boolean("add_prefix_space");
      if (fields.boolean("trim_offsets")) steps_.push_back(TrimOffsets{add_prefix_space});
    }
    add_surround({{named_id(fields.require("cls"), vocabulary, inside + ": cls")},
                  {named_id(fields.require("sep"), vocabulary, inside + ": sep")},
                  /*apart=*/false},
                 inside);
  } else {
    fail(ErrorKind::bad_input,
         "{}: the type '{}' is not supported; Nibble knows ByteLevel, "
         "TemplateProcessing, "
         "BertProcessing, RobertaProcessing and Sequence",
         who, type);
  }
  fields.done();
}

void PostProcessor::add_surround(Surround surround, const std::string& who) {
  for (const Step& step : steps_)
    if (std::holds_alternative<Surround>(step))
      fail(ErrorKind::bad_input, "{}: another step before it adds tokens; one only may", who);
  steps_.push_back(std::move(surround));
}

void PostProcessor::add_template(const nlohmann::json& json, const Vocabulary& vocabulary,
                                 const std::string& who) {
  JsonFields fields(json, who);
  fields.ignore("type");
  fields.ignore("pair");
  const nlohmann::json& special_tokens = fields.require("special_tokens");
  Surround surround;
  surround.apart = true;
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
      const std::string& name = special.text("id");
      JsonFields token(defined.require(name), who + ": special_tokens");
      for (const auto& id : token.array("ids"))
        (seen_text ? surround.after : surround.before)
            .push_back(existing_id(id, vocabulary, who + ": special_tokens: '" + name + "'"));
    }
    choice.done();
  }
  if (!seen_text) fail(ErrorKind::bad_input, "{}: single: expected the text 'A' exactly once", who);
  fields.done();
  add_surround(std::move(surround), who);
}

void PostProcessor::apply(std::string_view original, const Vocabulary& vocabulary,
                          bool add_special_tokens, const std::vector<WidenedToken>& widened,
                          Encoding& encoding) const {
  size_t shift = 0, first = 0;
  for (const Step& step : steps_) {
    if (const auto* with = std::get_if<TrimOffsets>(&step)) {
      trim(original, vocabulary, with->add_prefix_space, widened, shift, first, encoding);
    } else if (add_special_tokens) {
      const auto& [before, after, apart] = std::get<Surround>(step);
      encoding.ids.insert(encoding.ids.begin(), before.begin(), before.end());
      encoding.offsets.insert(encoding.offsets.begin(), before.size(), {0, 0});
      encoding.ids.insert(encoding.ids.end(), after.begin(), after.end());
      encoding.offsets.insert(encoding.offsets.end(), after.size(), {0, 0});
      shift = before.size();
      if (apart) first = shift;
    }
  }
}

}  // namespace nibble
