#include "text/pre_tokenizer.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "text/json_fields.h"
#include "text/metaspace.h"
#include "text/normalizer.h"
#include "text/utf8.h"

namespace nibble {
namespace {

// GPT-2's pattern, which ByteLevel holds within.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace

PreTokenizer PreTokenizer::from_json(const nlohmann::json& json, const std::string& who) {
  PreTokenizer pre_tokenizer;
  if (json.is_null()) return pre_tokenizer;
  JsonFields fields(json, who);
  if (fields.text("type") != "Sequence") {
    pre_tokenizer.add_step(json, who);
    return pre_tokenizer;
  }
  for (const auto& step : fields.array("pretokenizers"))
    pre_tokenizer.add_step(step, who + ": Sequence");
  fields.done();
  return pre_tokenizer;
}

void PreTokenizer::add_step(const nlohmann::json& json, const std::string& who) {
  JsonFields fields(json, who);
  const std::string& type = fields.text("type");
  if (byte_level_)
    fail(ErrorKind::bad_input, "{}: '{}' after ByteLevel is not supported; ByteLevel must be last",
         who, type);
  if (type == "ByteLevel") {
    add_byte_level(json, who + ": ByteLevel");
  } else if (type == "Metaspace") {
    add_metaspace(json, who + ": Metaspace");
  } else if (type == "Split") {
    Pattern pattern = Pattern::from_json(fields.require("pattern"), who + ": Split: pattern");
    const SplitBehavior behavior = split_behavior(fields.text("behavior"), who + ": Split");
    steps_.push_back(Split{std::move(pattern), behavior, fields.boolean("invert")});
    fields.done();
  } else if (type == "Digits") {
    const auto behavior = fields.boolean_or("individual_digits", false) ? SplitBehavior::isolated
                                                                        : SplitBehavior::contiguous;
    steps_.push_back(Split{Pattern(Regex(R"(\p{N})", who + ": Digits")), behavior, false});
    fields.done();
  } else {
    fail(ErrorKind::bad_input,
         "{}: the type '{}' is not supported; Nibble knows ByteLevel, Split, Metaspace, Digits and "
         "one Sequence of these",
         who, type);
  }
}

void PreTokenizer::add_byte_level(const nlohmann::json& json, const std::string& who) {
  JsonFields fields(json, who);
  fields.ignore("type");
  fields.ignore("trim_offsets");  // obeyed by the post-processor of this name only
  if (fields.boolean("add_prefix_space")) steps_.push_back(PrefixSpace{});
  if (fields.boolean_or("use_regex", true))
    steps_.push_back(Split{Pattern(Regex(kGpt2Pattern, who)), SplitBehavior::isolated, false});
  fields.done();
  byte_level_ = true;
}

void PreTokenizer::add_metaspace(const nlohmann::json& json, const std::string& who) {
  const MetaspaceFields fields = read_metaspace(json, who);
  PrefixScheme scheme = PrefixScheme::always;
  if (fields.prepend_scheme == "first") scheme = PrefixScheme::first;
  if (fields.prepend_scheme == "never") scheme = PrefixScheme::never;
  steps_.push_back(SpaceMark{Pattern(" "), fields.replacement, scheme});
  if (fields.split)
    steps_.push_back(Split{Pattern(fields.replacement), SplitBehavior::merged_with_next, false});
}

Words PreTokenizer::apply(NormalizedText text) const {
  Words words;
  const size_t size = text.view().size();
  words.texts.push_back(std::move(text));
  if (size > 0) words.list.push_back({&words.texts.front(), {0, size}});

  const auto replace_word = [&](Words::Word& word, NormalizedText with) {
    words.texts.push_back(std::move(with));
    word = {&words.texts.back(), {0, words.texts.back().view().size()}};
  };
  for (const Step& step : steps_) {
    if (const auto* cut = std::get_if<Split>(&step)) {
      std::vector<Words::Word> list;
      std::vector<Match> pieces;
      for (const Words::Word& word : words.list) {
        const auto [begin, end] = word.range;
        pieces.clear();
        split(word.text->view().substr(begin, end - begin), cut->pattern, cut->behavior,
              cut->invert, pieces);
        list.reserve(list.size() + pieces.size());
        for (const Match& piece : pieces)
          list.push_back({word.text, {begin + piece.begin, begin + piece.end}});
      }
      words.list = std::move(list);
    } else if (const auto* mark = std::get_if<SpaceMark>(&step)) {
      for (Words::Word& word : words.list) {
        const bool at_start = word.text->original(word.range.begin, word.range.end).first == 0;
        const auto [begin, end] = word.range;
        NormalizedText marked = *replace_all(word.text->slice(begin, end), mark->space, mark->mark,
                                             SIZE_MAX);  // one character for one: no more than 4x
        if (!marked.view().starts_with(mark->mark) &&
            (mark->scheme == PrefixScheme::always ||
             (mark->scheme == PrefixScheme::first && at_start)))
          marked = prepend(marked, mark->mark);
        replace_word(word, std::move(marked));
      }
    } else {
      for (Words::Word& word : words.list)
        if (word.text->view()[word.range.begin] != ' ')
          replace_word(word, prepend(word.text->slice(word.range.begin, word.range.end), " "));
    }
  }
  return words;
}

}  // namespace nibble
