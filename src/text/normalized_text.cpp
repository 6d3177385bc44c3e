#include "text/normalized_text.h"

#include "text/utf8.h"

namespace nibble {

ByteSpan NormalizedText::original(size_t begin, size_t end) const {
  if (!source_.empty()) return {source_[begin].first, source_[end - 1].second};
  while (is_utf8_continuation(view_[begin])) --begin;
  while (end < view_.size() && is_utf8_continuation(view_[end])) ++end;
  return {origin_ + static_cast<uint32_t>(begin), origin_ + static_cast<uint32_t>(end)};
}

NormalizedText NormalizedText::slice(size_t begin, size_t end) const {
  if (source_.empty())
    return NormalizedText(view_.substr(begin, end - begin), origin_ + static_cast<uint32_t>(begin));
  const auto at = [&](size_t i) { return source_.begin() + static_cast<std::ptrdiff_t>(i); };
  return NormalizedText(owned_.substr(begin, end - begin),
                        std::vector<ByteSpan>(at(begin), at(end)));
}

void NormalizedTextBuilder::copy(const NormalizedText& from, size_t begin, size_t end) {
  const std::string_view text = from.view();
  for (size_t i = begin; i < end;) {
    const size_t length = utf8_length(text[i]);
    add(text.substr(i, length), from.original(i, i + length));
    i += length;
  }
}

}  // namespace nibble
