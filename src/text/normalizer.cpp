#include "text/normalizer.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "text/json_fields.h"
#include "text/utf8.h"

namespace nibble {

Normalizer Normalizer::from_json(const nlohmann::json& json, const std::string& who) {
  Normalizer normalizer;
  normalizer.who_ = who;
  if (json.is_null()) return normalizer;
  JsonFields fields(json, who);
  if (fields.text("type") != "Sequence") {
    normalizer.steps_.push_back(step_from_json(json, who));
    return normalizer;
  }
  for (const auto& step : fields.array("normalizers"))
    normalizer.steps_.push_back(step_from_json(step, who + ": Sequence"));
  fields.done();
  return normalizer;
}

Normalizer::Step Normalizer::step_from_json(const nlohmann::json& json, const std::string& who) {
  JsonFields fields(json, who);
  const std::string& type = fields.text("type");
  Step step;
  if (type == "NFC") {
    step = Nfc{};
  } else if (type == "Prepend") {
    step = Prepend{fields.text("prepend")};
  } else if (type == "Replace") {
    step = Replace{Pattern::from_json(fields.require("pattern"), who + ": Replace: pattern"),
                   fields.text("content")};
  } else {
    fail(ErrorKind::bad_input,
         "{}: the type '{}' is not supported; Nibble knows NFC, Prepend, Replace and one Sequence "
         "of these",
         who, type);
  }
  fields.done();
  return step;
}

NormalizedText Normalizer::apply(NormalizedText text) const {
  const size_t bytes = text.view().size();
  for (const Step& step : steps_) {
    if (const auto* with = std::get_if<Prepend>(&step)) {
      if (text.view().size() + with->text.size() > growth_limit(bytes)) fail_growth(who_, bytes);
      text = prepend(text, with->text);
    } else if (const auto* replace = std::get_if<Replace>(&step)) {
      auto replaced =
          replace_all(std::move(text), replace->pattern, replace->content, growth_limit(bytes));
      if (!replaced) fail_growth(who_, bytes);
      text = std::move(*replaced);
    } else {
      text = to_nfc(std::move(text));
    }
  }
  return text;
}

NormalizedText prepend(const NormalizedText& text, std::string_view prefix) {
  const size_t size = text.view().size();
  NormalizedTextBuilder builder(prefix.size() + size);
  if (size > 0) {
    builder.add(prefix, text.original(0, utf8_length(text.view()[0])));
    builder.copy(text, 0, size);
  }
  return std::move(builder).build();
}

std::optional<NormalizedText> replace_all(NormalizedText text, const Pattern& pattern,
                                          std::string_view content, size_t max_bytes) {
  std::vector<Match> matches;
  pattern.find_all(text.view(), matches);
  if (matches.empty()) return text;
  const size_t size = text.view().size();
  // Both factors come from files of bounded size: no overflow.
  const size_t grown = size + matches.size() * content.size();
  if (grown > max_bytes) return std::nullopt;
  NormalizedTextBuilder builder(grown);
  size_t at = 0;
  for (const Match& match : matches) {
    builder.copy(text, at, match.begin);
    // After an empty match too, new text stands for the character before it.
    const ByteSpan source = match.end == 0
                                ? ByteSpan{text.original(0, 1).first, text.original(0, 1).first}
                                : text.original(match.end - 1, match.end);
    builder.add(content, source);
    at = match.end;
  }
  builder.copy(text, at, size);
  return std::move(builder).build();
}

}  // namespace nibble
