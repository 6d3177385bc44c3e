#include "text/normalized_text.h"

#include "core/error.h"

namespace nibble {

NormalizedText NormalizedText::slice(size_t begin, size_t end) const {
  NormalizedText part = trimmed(begin, end);
  if (begin < end) part.start_ = original(begin, end).first;
  return part;
}

NormalizedText NormalizedText::trimmed(size_t begin, size_t end) const {
  if (source_.empty()) {
    NormalizedText part(view_.substr(begin, end - begin), origin_ + static_cast<uint32_t>(begin));
    part.start_ = start_;
    return part;
  }
  const auto at = [&](size_t i) { return source_.begin() + static_cast<std::ptrdiff_t>(i); };
  return NormalizedText(owned_.substr(begin, end - begin),
                        std::vector<ByteSpan>(at(begin), at(end)), start_);
}

void require_place(const NormalizedText& text, size_t begin) {
  if (text.begins_nowhere(begin))
    fail(ErrorKind::bad_input,
         "tokenizer: the text, or a part of it, begins "
         "with what a Replace of nothing put there, "
         "which `tokenizers` cannot rewrite");
}

void NormalizedTextBuilder::copy(size_t begin, size_t end) {
  const std::string_view text = from_.view();
  for (size_t i = begin; i < end;) {
    const size_t length = utf8_length(text[i]);
    add(text.substr(i, length), from_.original(i, i + length));
    i += length;
  }
}

NormalizedText prepend(const NormalizedText& text, std::string_view prefix) {
  const size_t size = text.view().size();
  NormalizedTextBuilder builder(text, prefix.size() + size);
  if (size > 0) {
    const size_t first = utf8_length(text.view()[0]);
    const ByteSpan source = text.original(0, first);
    builder.add(prefix, source);
    // After no prefix at all, `tokenizers` sees the first character as inserted.
    builder.add(text.view().substr(0, first), prefix.empty() ? text.before(0) : source);
    builder.copy(first, size);
  }
  return std::move(builder).build();
}

NormalizedText append(const NormalizedText& text, std::string_view suffix) {
  const size_t size = text.view().size();
  NormalizedTextBuilder builder(text, size + suffix.size());
  builder.copy(0, size);
  builder.add(suffix, text.before(size));
  return std::move(builder).build();
}

std::optional<NormalizedText> replace_all(NormalizedText text, const Pattern& pattern,
                                          std::string_view content, size_t max_bytes) {
  const size_t size = text.view().size();
  std::vector<Match> matches;
  if (size > 0) pattern.find_all(text.view(), matches);
  if (matches.empty()) return text;
  // Both factors come from files of bounded size: no overflow.
  const size_t grown = size + matches.size() * content.size();
  if (grown > max_bytes) return std::nullopt;
  NormalizedTextBuilder builder(text, grown);
  size_t at = 0;
  for (const Match& match : matches) {
    builder.copy(at, match.begin);
    builder.add(content,
                text.before(match.end));  // after an empty match: the character before
    at = match.end;
  }
  builder.copy(at, size);
  return std::move(builder).build();
}

}  // namespace nibble
