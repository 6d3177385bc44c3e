#include "text/normalizer.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "text/byte_level.h"
#include "text/json_fields.h"
#include "text/utf8.h"

namespace nibble {
namespace {

constexpr int kNormalizerDepth = 4;      // of Sequences in Sequences
constexpr size_t kNormalizerSteps = 64;  // each may copy the whole text

CharacterSet set_of(std::initializer_list<CharacterSet::Range> ranges) {
  CharacterSet set;
  for (const auto& [first, last] : ranges) set.add(first, last);
  return set;
}

// As BertNormalizer has them.
bool is_chinese(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B81F) ||
         (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) ||
         (c >= 0x2F800 && c <= 0x2FA1F);
}

// Character by character: for each one `write` says what it becomes, by builder.add(..).
template <typename Write>
NormalizedText rewrite(const NormalizedText& text, size_t expected_bytes, const Write& write) {
  const std::string_view view = text.view();
  if (!view.empty()) require_place(text, 0);
  NormalizedTextBuilder builder(text, expected_bytes);
  for (size_t at = 0; at < view.size();) {
    const size_t end = at + utf8_length(view[at]);
    write(builder, decode_utf8(view, at), text.original(at, end));
    at = end;
  }
  return std::move(builder).build();
}

NormalizedText strip(NormalizedText text, bool left, bool right) {
  const std::string_view view = text.view();
  size_t begin = 0, end = view.size();
  while (left && begin < end && is_white_space(decode_utf8(view, begin)))
    begin += utf8_length(view[begin]);
  while (right && end > begin && is_white_space(decode_utf8(view, previous_utf8(view, end))))
    end = previous_utf8(view, end);
  return text.trimmed(begin, end);
}

}  // namespace

Normalizer Normalizer::from_json(const nlohmann::json& json, const std::string& who) {
  Normalizer normalizer;
  normalizer.who_ = who;
  if (!json.is_null()) normalizer.add_steps(json, who, 0);
  if (normalizer.steps_.size() > kNormalizerSteps)
    fail(ErrorKind::bad_input, "{}: {} steps, at most {} are accepted", who,
         normalizer.steps_.size(), kNormalizerSteps);
  return normalizer;
}

void Normalizer::add_steps(const nlohmann::json& json, const std::string& who, int depth) {
  JsonFields fields(json, who);
  const std::string& type = fields.text("type");
  const std::string inside = who + ": " + type;
  if (type == "Sequence") {
    if (depth == kNormalizerDepth)
      fail(ErrorKind::bad_input, "{}: too many Sequences in Sequences", who);
    for (const auto& step : fields.array("normalizers")) add_steps(step, inside, depth + 1);
  } else if (type == "NFC") {
    steps_.push_back(NormalForm{.compose = true, .compatibility = false});
  } else if (type == "NFD") {
    steps_.push_back(NormalForm{.compose = false, .compatibility = false});
  } else if (type == "NFKC") {
    steps_.push_back(NormalForm{.compose = true, .compatibility = true});
  } else if (type == "NFKD") {
    steps_.push_back(NormalForm{.compose = false, .compatibility = true});
  } else if (type == "Lowercase") {
    steps_.push_back(Lowercase{});
  } else if (type == "StripAccents") {
    steps_.push_back(Remove{CharacterClass(CharacterSet::marks())});
  } else if (type == "Strip") {
    const bool left = fields.boolean("strip_left");
    steps_.push_back(Strip{left, fields.boolean("strip_right")});
  } else if (type == "Prepend") {
    steps_.push_back(Prepend{fields.text("prepend")});
  } else if (type == "Append") {
    steps_.push_back(Append{fields.text("append")});
  } else if (type == "Replace") {
    Pattern pattern = Pattern::from_json(fields.require("pattern"), inside + ": pattern");
    steps_.push_back(Replace{std::move(pattern), fields.text("content")});
  } else if (type == "Nmt") {
    add_nmt();
  } else if (type == "BertNormalizer") {
    add_bert(json, inside);
    return;
  } else if (type == "ByteLevel") {
    steps_.push_back(SpellBytes{});
  } else {
    fail(ErrorKind::bad_input,
         "{}: the type '{}' is not supported; Nibble knows NFC, NFD, NFKC, "
         "NFKD, Lowercase, "
         "StripAccents, Strip, Prepend, Append, Replace, Nmt, BertNormalizer, "
         "ByteLevel and "
         "Sequence",
         who, type);
  }
  fields.done();
}

void Normalizer::add_nmt() {
  steps_.push_back(Remove{CharacterClass(
      set_of({{0x1, 0x8}, {0xB, 0xB}, {0xE, 0x1F}, {0x7F, 0x7F}, {0x8F, 0x8F}, {0x9F, 0x9F}}))});
  steps_.push_back(ToSpace{CharacterClass(set_of({{0x9, 0xA},
                                                  {0xC, 0xD},
                                                  {0x1680, 0x1680},
                                                  {0x200B, 0x200F},
                                                  {0x2028, 0x2029},
                                                  {0x2581, 0x2581},
                                                  {0xFEFF, 0xFEFF},
                                                  {0xFFFD, 0xFFFD}}))});
}

void Normalizer::add_bert(const nlohmann::json& json, const std::string& who) {
  JsonFields fields(json, who);
  fields.ignore("type");
  const bool lowercase = fields.boolean("lowercase");
  if (fields.boolean("clean_text")) {
    steps_.push_back(Remove{CharacterClass(CharacterSet::controls())});
    steps_.push_back(ToSpace{CharacterClass(CharacterSet::white_space())});
  }
  if (fields.boolean("handle_chinese_chars")) steps_.push_back(SpaceChinese{});
  const nlohmann::json* accents = fields.find("strip_accents");
  if (accents && !accents->is_null() ? fields.boolean("strip_accents") : lowercase) {
    steps_.push_back(NormalForm{.compose = false, .compatibility = false});
    steps_.push_back(Remove{CharacterClass(CharacterSet::accents())});
  }
  if (lowercase) steps_.push_back(Lowercase{});
  fields.done();
}

NormalizedText Normalizer::apply(NormalizedText text) const {
  const size_t bytes = text.view().size();
  for (const Step& step : steps_) {
    text = apply(step, std::move(text), growth_limit(bytes));
    if (text.view().size() > growth_limit(bytes)) fail_growth(who_, bytes);
  }
  return text;
}

NormalizedText Normalizer::apply(const Step& step, NormalizedText text, size_t max_bytes) const {
  const size_t size = text.view().size();
  if (const auto* form = std::get_if<NormalForm>(&step)) {
    if (size > 0) require_place(text, 0);
    return normalize(std::move(text), *form);
  }
  if (std::holds_alternative<Lowercase>(step))
    return rewrite(text, size, [](auto& builder, char32_t c, ByteSpan source) {
      builder.add(c == 0x130 ? U'i' : to_lower(c), source);
      if (c == 0x130) builder.add(char32_t{0x307}, source);
    });
  if (const auto* remove = std::get_if<Remove>(&step))
    return rewrite(text, size, [&](auto& builder, char32_t c, ByteSpan source) {
      if (!remove->characters.contains(c)) builder.add(c, source);
    });
  if (const auto* to_space = std::get_if<ToSpace>(&step))
    return rewrite(text, size, [&](auto& builder, char32_t c, ByteSpan source) {
      builder.add(to_space->characters.contains(c) ? U' ' : c, source);
    });
  if (std::holds_alternative<SpaceChinese>(step))
    return rewrite(text, size, [&](auto& builder, char32_t c, ByteSpan source) {
      if (is_chinese(c)) builder.add(U' ', source);
      builder.add(c, source);
      if (is_chinese(c)) builder.add(U' ', source);
    });
  if (std::holds_alternative<SpellBytes>(step)) return spell_bytes(text);
  if (const auto* with = std::get_if<Strip>(&step))
    return strip(std::move(text), with->left, with->right);
  if (const auto* with = std::get_if<Prepend>(&step)) return prepend(text, with->text);
  if (const auto* with = std::get_if<Append>(&step)) return append(text, with->text);
  const auto& replace = std::get<Replace>(step);
  auto replaced = replace_all(std::move(text), replace.pattern, replace.content, max_bytes);
  if (!replaced) fail_growth(who_, size);
  return std::move(*replaced);
}

NormalizedText spell_bytes(const NormalizedText& text) {
  return rewrite(text, 2 * text.view().size(), [](auto& builder, char32_t c, ByteSpan source) {
    std::string bytes;
    append_utf8(bytes, c);
    builder.add(std::string_view(to_byte_level(bytes)), source);
  });
}

}  // namespace nibble
