// A stretch of the input after normalization, which remembers for every byte where in the original
// text it came from (the NormalizedString of `tokenizers`, with its alignments).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/pattern.h"
#include "text/utf8.h"

namespace nibble {

using ByteSpan = std::pair<uint32_t, uint32_t>;  // [first, second)

class NormalizedText {
 public:
  // Unchanged text, a view; `origin` is its position in the original.
  NormalizedText(std::string_view text, uint32_t origin)
      : view_(text), origin_(origin), start_(origin) {}
  // Changed text; source[i] is the span of original characters that byte i stands for. `start` is
  // where in the original the whole stretch begins.
  NormalizedText(std::string text, std::vector<ByteSpan> source, uint32_t start)
      : owned_(std::move(text)), source_(std::move(source)), start_(start) {}

  NormalizedText(NormalizedText&&) = default;
  NormalizedText& operator=(NormalizedText&&) = default;
  NormalizedText(const NormalizedText&) = delete;
  NormalizedText& operator=(const NormalizedText&) = delete;

  std::string_view view() const { return source_.empty() ? view_ : std::string_view(owned_); }
  uint32_t start() const { return start_; }
  // Original bytes of the non-empty range [begin, end), widened to whole characters.
  ByteSpan original(size_t begin, size_t end) const {
    if (!source_.empty()) return {source_[begin].first, source_[end - 1].second};
    while (is_utf8_continuation(view_[begin])) --begin;
    while (end < view_.size() && is_utf8_continuation(view_[end])) ++end;
    return {origin_ + static_cast<uint32_t>(begin), origin_ + static_cast<uint32_t>(end)};
  }
  // What a character that stands for nothing is put after: the character that ends at `end`, or the
  // start of the stretch.
  ByteSpan before(size_t end) const {
    return end == 0 ? ByteSpan{start_, start_} : original(end - 1, end);
  }
  // Does the character at `begin` stand for nothing in the original? (`before(0)` leads to that.)
  bool begins_nowhere(size_t begin) const {
    return !source_.empty() && source_[begin].first == source_[begin].second;
  }
  // The part [begin, end), as a text of its own.
  NormalizedText slice(size_t begin, size_t end) const;
  // The same, as far as start() goes still the whole stretch.
  NormalizedText trimmed(size_t begin, size_t end) const;

 private:
  std::string_view view_;
  uint32_t origin_ = 0;
  std::string owned_;
  std::vector<ByteSpan> source_;
  uint32_t start_ = 0;
};

// Throws Error(bad_input) if the character at `begin` stands for nothing in the original and starts
// a stretch: `tokenizers` panics, or repeats itself, where it rewrites such a stretch.
void require_place(const NormalizedText& text, size_t begin);

// Builds the changed text from left to right.
class NormalizedTextBuilder {
 public:
  explicit NormalizedTextBuilder(const NormalizedText& from, size_t expected_bytes) : from_(from) {
    text_.reserve(expected_bytes);
    source_.reserve(expected_bytes);
  }
  // [begin, end) of the old text as it is.
  void copy(size_t begin, size_t end);
  // New bytes that all stand for `span`.
  void add(std::string_view bytes, ByteSpan span) {
    text_ += bytes;
    source_.insert(source_.end(), bytes.size(), span);
  }
  void add(char32_t c, ByteSpan span) {
    const size_t size = text_.size();
    append_utf8(text_, c);
    source_.insert(source_.end(), text_.size() - size, span);
  }
  NormalizedText build() && {
    return NormalizedText(std::move(text_), std::move(source_), from_.start());
  }

 private:
  const NormalizedText& from_;
  std::string text_;
  std::vector<ByteSpan> source_;
};

// `prefix` before the first character, standing for the same original bytes; empty text stays.
NormalizedText prepend(const NormalizedText& text, std::string_view prefix);

// `suffix` after the last character, standing for the same original bytes.
NormalizedText append(const NormalizedText& text, std::string_view suffix);

// Each match replaced by `content`, which stands for the last original character of the match.
// Nothing if that would make more than max_bytes.
std::optional<NormalizedText> replace_all(NormalizedText text, const Pattern& pattern,
                                          std::string_view content, size_t max_bytes);

}  // namespace nibble
