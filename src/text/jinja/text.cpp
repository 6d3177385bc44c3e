#include "text/jinja/text.h"

#include <algorithm>

#include "text/jinja/runtime.h"
#include "text/utf8.h"

namespace nibble::jinja {
namespace {

bool all_ascii(std::string_view bytes) {
  unsigned char all = 0;
  for (const char byte : bytes) all |= static_cast<unsigned char>(byte);
  return all < 0x80;
}

}  // namespace

Text::Text(std::string bytes, Mark mark)
    : bytes_(std::move(bytes)), mark_(mark), ascii_(all_ascii(bytes_)) {}

Text::Text(std::string bytes, std::vector<Run> runs)
    : bytes_(std::move(bytes)),
      mark_(runs.empty() ? kTemplateText : runs.front().mark),
      ascii_(all_ascii(bytes_)) {
  if (runs.size() > 1) runs_ = std::move(runs);
}

size_t Text::length() const {
  if (ascii_) return bytes_.size();
  return static_cast<size_t>(std::count_if(bytes_.begin(), bytes_.end(),
                                           [](char byte) { return !is_utf8_continuation(byte); }));
}

size_t Text::find_run(size_t byte) const {
  const auto run = std::upper_bound(runs_.begin(), runs_.end(), byte,
                                    [](size_t at, const Run& r) { return at < r.end; });
  return static_cast<size_t>(run - runs_.begin());
}

Mark Text::mark_at(size_t byte) const {
  return runs_.empty() || byte >= size() ? mark_ : runs_[find_run(byte)].mark;
}

void TextBuilder::append(std::string_view bytes, Mark mark) {
  if (bytes.empty()) return;
  runtime_.charge_bytes(bytes.size());
  runtime_.check_size(bytes_.size() + bytes.size());
  bytes_ += bytes;
  const auto end = static_cast<uint32_t>(bytes_.size());
  if (!runs_.empty() && runs_.back().mark == mark) {
    runs_.back().end = end;
  } else {
    runs_.push_back({end, mark});
  }
}

void TextBuilder::append(const Text& text, size_t begin, size_t end) {
  text.for_each_run(begin, end, [&](size_t from, size_t to, Mark mark) {
    append(text.view().substr(from, to - from), mark);
  });
}

void TextBuilder::append(char32_t character, Mark mark) {
  std::string bytes;
  append_utf8(bytes, character);
  append(bytes, mark);
}

Text TextBuilder::build() && { return Text(std::move(bytes_), std::move(runs_)); }

}  // namespace nibble::jinja
