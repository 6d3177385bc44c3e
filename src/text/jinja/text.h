// The string of the template's world: well-formed UTF-8, and for every byte a mark that says where
// it came from. Immutable and shared; a string of one origin carries no vector.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/object.h"

namespace nibble::jinja {

class Runtime;

// An index into the rendering's table of origins. The top bit is set inside {% generation %}.
using Mark = uint32_t;
inline constexpr Mark kTemplateText = 0;
inline constexpr Mark kGenerated = 0x80000000u;

struct Run {
  uint32_t end;  // one past its last byte; it begins where the run before ends
  Mark mark;
};

class Text final : public Object {
 public:
  Text(std::string bytes, Mark mark);
  // Runs in order that cover the bytes, neighbours differing.
  Text(std::string bytes, std::vector<Run> runs);

  const std::string& bytes() const { return bytes_; }
  std::string_view view() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  // One byte is one character.
  bool is_ascii() const { return ascii_; }
  // In characters.
  size_t length() const;

  // The mark of all of it, or of the first byte where there are several.
  Mark mark() const { return mark_; }
  bool has_one_mark() const { return runs_.empty(); }
  Mark mark_at(size_t byte) const;

  // Calls f(begin, end, mark) for the runs of the bytes [begin, end).
  template <typename F>
  void for_each_run(size_t begin, size_t end, F&& f) const {
    if (begin >= end) return;
    if (runs_.empty()) return f(begin, end, mark_);
    for (size_t i = find_run(begin); begin < end; ++i) {
      const size_t stop = runs_[i].end < end ? runs_[i].end : end;
      f(begin, stop, runs_[i].mark);
      begin = stop;
    }
  }

 private:
  size_t find_run(size_t byte) const;

  std::string bytes_;
  std::vector<Run> runs_;  // empty: all is mark_
  Mark mark_;
  bool ascii_;
};

// Builds a text from left to right, within the limits of the rendering.
class TextBuilder {
 public:
  explicit TextBuilder(Runtime& runtime) : runtime_(runtime) {}

  // Throw Error(bad_input) beyond the limits.
  void append(std::string_view bytes, Mark mark);
  void append(const Text& text) { append(text, 0, text.size()); }
  void append(const Text& text, size_t begin, size_t end);
  void append(char32_t character, Mark mark);

  size_t size() const { return bytes_.size(); }
  Text build() &&;

 private:
  Runtime& runtime_;
  std::string bytes_;
  std::vector<Run> runs_;
};

}  // namespace nibble::jinja
