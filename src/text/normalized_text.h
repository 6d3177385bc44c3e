// A stretch of the input after normalization, which remembers for every byte where in the
// original text it came from.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nibble {

using ByteSpan = std::pair<uint32_t, uint32_t>;  // [first, second)

class NormalizedText {
 public:
  // Unchanged text, a view; `origin` is its position in the original.
  NormalizedText(std::string_view text, uint32_t origin) : view_(text), origin_(origin) {}
  // Changed text; source[i] is the span of original characters that byte i stands for.
  NormalizedText(std::string text, std::vector<ByteSpan> source)
      : owned_(std::move(text)), source_(std::move(source)) {}

  NormalizedText(NormalizedText&&) = default;
  NormalizedText& operator=(NormalizedText&&) = default;
  NormalizedText(const NormalizedText&) = delete;
  NormalizedText& operator=(const NormalizedText&) = delete;

  std::string_view view() const { return source_.empty() ? view_ : std::string_view(owned_); }
  // Original bytes of the non-empty range [begin, end), widened to whole characters.
  ByteSpan original(size_t begin, size_t end) const;
  // The part [begin, end), as a text of its own.
  NormalizedText slice(size_t begin, size_t end) const;

 private:
  std::string_view view_;
  uint32_t origin_ = 0;
  std::string owned_;
  std::vector<ByteSpan> source_;
};

// Builds the changed text from left to right.
class NormalizedTextBuilder {
 public:
  explicit NormalizedTextBuilder(size_t expected_bytes) {
    text_.reserve(expected_bytes);
    source_.reserve(expected_bytes);
  }
  // [begin, end) of `from` as it is.
  void copy(const NormalizedText& from, size_t begin, size_t end);
  // New bytes that all stand for `span`.
  void add(std::string_view bytes, ByteSpan span) {
    text_ += bytes;
    source_.insert(source_.end(), bytes.size(), span);
  }
  NormalizedText build() && { return NormalizedText(std::move(text_), std::move(source_)); }

 private:
  std::string text_;
  std::vector<ByteSpan> source_;
};

}  // namespace nibble
