#include "text/text_stream.h"

#include <span>

namespace nibble {

// A tokenizer's decoder looks at neighbours (a leading space is dropped, bytes join to characters),
// so text is decoded in a window that begins before what is new, with and without the new ids.
TextStream::TextStream(const Tokenizer& tokenizer, std::vector<int32_t> prompt)
    : tokenizer_(tokenizer), window_(std::move(prompt)), told_(window_.size()) {}

std::string TextStream::add(int32_t id) {
  window_.push_back(id);
  return flush(false);
}

std::string TextStream::finish() { return flush(true); }

std::string TextStream::flush(bool incomplete_too) {
  constexpr std::string_view replacement = "\xEF\xBF\xBD";
  const std::string before = tokenizer_.decode(std::span(window_).first(told_), true);
  const std::string all = tokenizer_.decode(window_, true);
  if (all.size() <= before.size() || (!incomplete_too && all.ends_with(replacement))) return "";
  window_.erase(window_.begin(), window_.begin() + static_cast<std::ptrdiff_t>(told_));
  told_ = window_.size();
  return all.substr(before.size());
}

}  // namespace nibble
