#include "text/pre_tokenizer.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "text/json_fields.h"
#include "text/metaspace.h"
#include "text/normalizer.h"
#include "text/utf8.h"

namespace nibble {
namespace {

constexpr int kMaxSequenceDepth = 4;      // of Sequences in Sequences
constexpr size_t kMaxSequenceSteps = 64;  // each may copy the whole text
constexpr int32_t kMaxChunk = 1 << 20;

// GPT-2's pattern, which ByteLevel holds within.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

char32_t one_character(const std::string& text, std::string_view field, const std::string& who) {
  if (text.empty() || text.size() != utf8_length(text[0]))
    fail(ErrorKind::bad_input, "{}: field '{}': got '{}', expected one character", who, field,
         text);
  return decode_utf8(text, 0);
}

}  // namespace

PreTokenizer PreTokenizer::from_json(const nlohmann::json& json, const std::string& who) {
  PreTokenizer pre_tokenizer;
  if (json.is_null()) return pre_tokenizer;
  pre_tokenizer.add_steps(json, who, 0);
  if (pre_tokenizer.steps_.size() > kMaxSequenceSteps)
    fail(ErrorKind::bad_input, "{}: {} steps, at most {} are accepted", who,
         pre_tokenizer.steps_.size(), kMaxSequenceSteps);
  return pre_tokenizer;
}

void PreTokenizer::add_steps(const nlohmann::json& json, const std::string& who, int depth) {
  JsonFields fields(json, who);
  const std::string& type = fields.text("type");
  const std::string inside = who + ": " + type;
  if (type == "Sequence") {
    if (depth == kMaxSequenceDepth)
      fail(ErrorKind::bad_input, "{}: too many Sequences in Sequences", who);
    for (const auto& step : fields.array("pretokenizers")) add_steps(step, inside, depth + 1);
    fields.done();
    return;
  }
  if (std::exchange(byte_level_, false)) steps_.push_back(SpellBytes{});  // it was not the last
  const auto at_each = [&](const CharacterSet& set, SplitBehavior behavior) {
    steps_.push_back(Split{Pattern(set), behavior, false});
  };
  if (type == "ByteLevel") {
    add_byte_level(json, inside);
    return;
  }
  if (type == "Metaspace") {
    add_metaspace(json, inside);
    return;
  }
  if (type == "Split") {
    Pattern pattern = Pattern::from_json(fields.require("pattern"), inside + ": pattern");
    const SplitBehavior behavior = split_behavior(fields.text("behavior"), inside);
    steps_.push_back(Split{std::move(pattern), behavior, fields.boolean("invert")});
  } else if (type == "Digits") {
    at_each(CharacterSet::numeric(), fields.boolean("individual_digits")
                                         ? SplitBehavior::isolated
                                         : SplitBehavior::contiguous);
  } else if (type == "Whitespace") {  // \w+|[^\w\s]+
    const CharacterSet word = CharacterSet::rust_word();
    CharacterSet other = word;
    other.add(CharacterSet::white_space());
    other.invert();
    steps_.push_back(Split{Pattern(word, other), SplitBehavior::removed, true});
  } else if (type == "WhitespaceSplit") {
    at_each(CharacterSet::white_space(), SplitBehavior::removed);
  } else if (type == "Punctuation") {
    at_each(CharacterSet::punctuation(), fields.find("behavior")
                                             ? split_behavior(fields.text("behavior"), inside)
                                             : SplitBehavior::isolated);
  } else if (type == "BertPreTokenizer") {
    at_each(CharacterSet::white_space(), SplitBehavior::removed);
    at_each(CharacterSet::punctuation(), SplitBehavior::isolated);
  } else if (type == "CharDelimiterSplit") {
    CharacterSet delimiter;
    const char32_t c = one_character(fields.text("delimiter"), "delimiter", inside);
    delimiter.add(c, c);
    at_each(delimiter, SplitBehavior::removed);
  } else if (type == "FixedLength") {
    const int32_t length = fields.find("length") ? fields.integer("length", kMaxChunk) : 5;
    if (length == 0) fail(ErrorKind::bad_input, "{}: field 'length': got 0", inside);
    steps_.push_back(Chunks{static_cast<size_t>(length)});
  } else {
    fail(ErrorKind::bad_input,
         "{}: the type '{}' is not supported; Nibble knows ByteLevel, Split, "
         "Metaspace, Digits, "
         "Whitespace, WhitespaceSplit, Punctuation, BertPreTokenizer, "
         "CharDelimiterSplit, "
         "FixedLength and Sequence",
         who, type);
  }
  fields.done();
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
  steps_.push_back(SpaceMark{fields.replacement, scheme});
  if (fields.split)
    steps_.push_back(Split{Pattern(fields.replacement), SplitBehavior::merged_with_next, false});
}

Words PreTokenizer::apply(NormalizedText text) const {
  Words words;
  const size_t size = text.view().size();
  words.texts.push_back(std::move(text));
  if (size > 0) words.list.push_back({&words.texts.front(), {0, size}});

  size_t bytes = size;
  const auto replace_word = [&](Words::Word& word, NormalizedText with) {
    const size_t length = with.view().size();
    bytes += length - (word.range.end - word.range.begin);
    if (bytes > growth_limit(size)) fail_growth("pre_tokenizer", size);
    words.texts.push_back(std::move(with));
    word = {&words.texts.back(), {0, length}};
  };
  const auto alone = [](const Words::Word& word) {
    return word.text->slice(word.range.begin, word.range.end);
  };
  for (const Step& step : steps_) {
    if (const auto* split = std::get_if<Split>(&step)) {
      cut(*split, words);
    } else if (const auto* chunks = std::get_if<Chunks>(&step)) {
      cut(*chunks, words);
    } else if (const auto* mark = std::get_if<SpaceMark>(&step)) {
      static const Pattern space(" ");
      for (Words::Word& word : words.list) {
        const bool at_start = word.text->original(word.range.begin, word.range.end).first == 0;
        NormalizedText marked = *replace_all(alone(word), space, mark->mark,
                                             SIZE_MAX);  // one character for one: no more than 4x
        if (!marked.view().starts_with(mark->mark) &&
            (mark->scheme == PrefixScheme::always ||
             (mark->scheme == PrefixScheme::first && at_start)))
          marked = prepend(marked, mark->mark);
        replace_word(word, std::move(marked));
      }
    } else if (std::holds_alternative<PrefixSpace>(step)) {
      for (Words::Word& word : words.list)
        if (word.text->view()[word.range.begin] != ' ')
          replace_word(word, prepend(alone(word), " "));
    } else {
      for (Words::Word& word : words.list) replace_word(word, spell_bytes(alone(word)));
    }
  }
  if (byte_level_)
    for (const Words::Word& word : words.list) require_place(*word.text, word.range.begin);
  return words;
}

void PreTokenizer::cut(const Split& split, Words& words) {
  std::vector<Words::Word> list;
  std::vector<Match> pieces;
  for (const auto& [text, range] : words.list) {
    pieces.clear();
    nibble::split(text->view().substr(range.begin, range.end - range.begin), split.pattern,
                  split.behavior, split.invert, pieces);
    for (const Match& piece : pieces)
      list.push_back({text, {range.begin + piece.begin, range.begin + piece.end}});
  }
  words.list = std::move(list);
}

void PreTokenizer::cut(const Chunks& chunks, Words& words) {
  std::vector<Words::Word> list;
  for (const auto& [text, range] : words.list) {
    for (size_t begin = range.begin; begin < range.end;) {
      size_t end = begin;
      for (size_t n = 0; n < chunks.characters && end < range.end; ++n)
        end += utf8_length(text->view()[end]);
      list.push_back({text, {begin, end}});
      begin = end;
    }
  }
  words.list = std::move(list);
}

}  // namespace nibble
