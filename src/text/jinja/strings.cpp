#include "text/jinja/strings.h"

#include <algorithm>
#include <cstring>

#include "text/jinja/markup.h"
#include "text/jinja/operators.h"
#include "text/jinja/runtime.h"
#include "text/jinja/unicode.h"
#include "text/utf8.h"

namespace nibble::jinja {
namespace {

// Is the capital sigma at `at` the last letter of its word? (Then its lower case is "ς".)
bool is_final_sigma(std::string_view text, size_t at) {
  size_t before = at;
  char32_t c = 0;
  do {
    if (before == 0) return false;
    before = previous_utf8(text, before);
    c = decode_utf8(text, before);
  } while (is_case_ignorable(c));
  if (!is_cased(c)) return false;
  for (size_t after = at + 2; after < text.size(); after += utf8_length(text[after])) {
    c = decode_utf8(text, after);
    if (!is_case_ignorable(c)) return !is_cased(c);
  }
  return true;
}

Mapped lower_at(std::string_view text, size_t at, char32_t c) {
  if (c == 0x3A3) return {{is_final_sigma(text, at) ? 0x3C2u : 0x3C3u}, 1};
  return to_lower(c);
}

// The end of the leading, or the beginning of the trailing, characters that `drop` takes.
template <typename Predicate>
size_t skip_forwards(std::string_view text, Predicate&& drop) {
  size_t i = 0;
  while (i < text.size() && drop(decode_utf8(text, i))) i += utf8_length(text[i]);
  return i;
}
template <typename Predicate>
size_t skip_backwards(std::string_view text, size_t begin, Predicate&& drop) {
  size_t i = text.size();
  while (i > begin) {
    const size_t before = previous_utf8(text, i);
    if (!drop(decode_utf8(text, before))) break;
    i = before;
  }
  return i;
}

std::string_view separator_of(Runtime& runtime, const Value& separator) {
  if (!separator.is_string()) {
    runtime.fail("must be str or None, not {}", type_name(separator));
  }
  if (separator.text().empty()) runtime.fail("empty separator");
  return separator.view();
}

std::vector<Value> split_space(Runtime& runtime, const Value& text, int64_t most) {
  std::vector<Value> parts;
  const std::string_view view = text.view();
  size_t i = skip_forwards(view, is_space);
  while (i < view.size()) {
    if (most >= 0 && static_cast<int64_t>(parts.size()) >= most) {
      parts.push_back(substring(runtime, text, i, view.size()));
      break;
    }
    const size_t end = i + skip_forwards(view.substr(i), [](char32_t c) { return !is_space(c); });
    parts.push_back(substring(runtime, text, i, end));
    i = end + skip_forwards(view.substr(end), is_space);
  }
  return parts;
}

std::vector<Value> split_space_right(Runtime& runtime, const Value& text, int64_t most) {
  std::vector<Value> parts;
  const std::string_view view = text.view();
  size_t end = skip_backwards(view, 0, is_space);
  while (end > 0) {
    const std::string_view rest = view.substr(0, end);
    if (most >= 0 && static_cast<int64_t>(parts.size()) >= most) {
      parts.push_back(substring(runtime, text, 0, end));
      break;
    }
    const size_t begin = skip_backwards(rest, 0, [](char32_t c) { return !is_space(c); });
    parts.push_back(substring(runtime, text, begin, end));
    end = skip_backwards(view.substr(0, begin), 0, is_space);
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

}  // namespace

Value substring(Runtime& runtime, const Value& value, size_t begin, size_t end) {
  const Text& text = value.text();
  if (begin == 0 && end == text.size()) return value;
  if (text.has_one_mark()) {
    runtime.charge_bytes(end - begin);
    return Value::string(Text(text.bytes().substr(begin, end - begin), text.mark()),
                         value.is_markup());
  }
  TextBuilder result(runtime);
  result.append(text, begin, end);
  return Value::string(std::move(result).build(), value.is_markup());
}

size_t byte_offset(const Text& text, size_t index) { return byte_offset(text, 0, index); }

size_t byte_offset(const Text& text, size_t from, size_t index) {
  if (text.is_ascii()) return std::min(text.size(), from + std::min(index, text.size()));
  while (index-- > 0 && from < text.size()) from += utf8_length(text.view()[from]);
  return from;
}

size_t find_text(std::string_view text, std::string_view what, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (what.empty()) return from;
  // Unlike find(), memmem is linear whatever the two are.
  const void* found = memmem(text.data() + from, text.size() - from, what.data(), what.size());
  if (!found) return std::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t find_last_text(Runtime& runtime, std::string_view text, std::string_view what, size_t end) {
  runtime.charge_bytes(end * what.size());
  return text.substr(0, end).rfind(what);
}

Value with_case(Runtime& runtime, const Value& value, Case which) {
  const Text& text = value.text();
  const std::string_view view = text.view();
  TextBuilder result(runtime);
  bool in_word = false;  // the character before was cased; for capitalize: there was one
  text.for_each_run(0, view.size(), [&](size_t begin, size_t end, Mark mark) {
    std::string bytes;
    for (size_t i = begin; i < end; i += utf8_length(view[i])) {
      const char32_t c = decode_utf8(view, i);
      Mapped to;
      switch (which) {
        case Case::upper:
          to = to_upper(c);
          break;
        case Case::lower:
          to = lower_at(view, i, c);
          break;
        case Case::fold:
          to = to_folded(c);
          break;
        case Case::title:
          to = in_word ? lower_at(view, i, c) : to_title(c);
          in_word = is_cased(c);
          break;
        case Case::capitalize:
          to = in_word ? lower_at(view, i, c) : to_title(c);
          in_word = true;
          break;
        case Case::swap:
          to = is_upper(c) ? lower_at(view, i, c) : is_lower(c) ? to_upper(c) : Mapped{{c}, 1};
          break;
      }
      for (size_t k = 0; k < to.count; ++k) append_utf8(bytes, to.characters[k]);
    }
    result.append(bytes, mark);
  });
  return Value::string(std::move(result).build(), value.is_markup());
}

bool has_case(Runtime& runtime, const Value& value, bool upper) {
  const std::string_view view = value.view();
  runtime.charge_bytes(view.size());
  bool any = false;
  for (size_t i = 0; i < view.size(); i += utf8_length(view[i])) {
    const char32_t c = decode_utf8(view, i);
    if (is_title(c) || (upper ? is_lower(c) : is_upper(c))) return false;
    any = any || (upper ? is_upper(c) : is_lower(c));
  }
  return any;
}

Value strip(Runtime& runtime, const Value& value, const Value* characters, Side side) {
  const std::string_view view = value.view();
  const auto drop = [&](char32_t c) {
    if (!characters) return is_space(c);
    std::string bytes;
    append_utf8(bytes, c);
    runtime.charge_bytes(characters->text().size());
    return characters->view().find(bytes) != std::string_view::npos;
  };
  const size_t begin = side == Side::right ? 0 : skip_forwards(view, drop);
  const size_t end = side == Side::left ? view.size() : skip_backwards(view, begin, drop);
  return substring(runtime, value, begin, end);
}

std::vector<Value> split(Runtime& runtime, const Value& text, const Value* separator,
                         int64_t most) {
  runtime.charge_bytes(text.text().size());
  if (!separator) return split_space(runtime, text, most);
  const std::string_view view = text.view();
  const std::string_view by = separator_of(runtime, *separator);
  std::vector<Value> parts;
  size_t begin = 0;
  while (most < 0 || static_cast<int64_t>(parts.size()) < most) {
    const size_t end = find_text(view, by, begin);
    if (end == std::string_view::npos) break;
    runtime.charge_values(1);
    parts.push_back(substring(runtime, text, begin, end));
    begin = end + by.size();
  }
  parts.push_back(substring(runtime, text, begin, view.size()));
  return parts;
}

std::vector<Value> split_right(Runtime& runtime, const Value& text, const Value* separator,
                               int64_t most) {
  runtime.charge_bytes(text.text().size());
  if (!separator) return split_space_right(runtime, text, most);
  const std::string_view view = text.view();
  const std::string_view by = separator_of(runtime, *separator);
  std::vector<Value> parts;
  size_t end = view.size();
  while (most < 0 || static_cast<int64_t>(parts.size()) < most) {
    const size_t begin = find_last_text(runtime, view, by, end);
    if (begin == std::string_view::npos) break;
    runtime.charge_values(1);
    parts.push_back(substring(runtime, text, begin + by.size(), end));
    end = begin;
  }
  parts.push_back(substring(runtime, text, 0, end));
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<Value> split_lines(Runtime& runtime, const Value& text, bool keep_ends) {
  const std::string_view view = text.view();
  runtime.charge_bytes(view.size());
  std::vector<Value> lines;
  size_t begin = 0;
  for (size_t i = 0; i < view.size();) {
    const char32_t c = decode_utf8(view, i);
    const size_t end = i;
    i += utf8_length(view[i]);
    if (!is_line_break(c)) continue;
    if (c == '\r' && i < view.size() && view[i] == '\n') ++i;
    runtime.charge_values(1);
    lines.push_back(substring(runtime, text, begin, keep_ends ? i : end));
    begin = i;
  }
  if (begin < view.size()) lines.push_back(substring(runtime, text, begin, view.size()));
  return lines;
}

Value replace(Runtime& runtime, const Value& value, const Value& from, const Value& to,
              int64_t most) {
  const Text& text = value.text();
  const std::string_view view = text.view();
  const std::string_view old = from.view();
  runtime.charge_bytes(view.size());
  TextBuilder result(runtime);
  size_t copied = 0;
  int64_t count = 0;
  for (size_t at = 0; (most < 0 || count < most) && at <= view.size(); ++count) {
    // An empty `from` stands before every character and at the end.
    const size_t found = find_text(view, old, at);
    if (found == std::string_view::npos) break;
    result.append(text, copied, found);
    result.append(to.text());
    copied = found + old.size();
    at = !old.empty()          ? copied
         : found < view.size() ? found + utf8_length(view[found])
                               : view.size() + 1;
  }
  if (count == 0) return value;
  result.append(text, copied, view.size());
  return Value::string(std::move(result).build(), value.is_markup());
}

Value pad(Runtime& runtime, const Value& value, int64_t width, const Value& fill, Side side) {
  const Text& text = value.text();
  const auto length = static_cast<int64_t>(text.length());
  if (width <= length) return value;
  const int64_t missing = width - length;
  // str.center puts the odd one to the left only when the width is odd too.
  const int64_t left = side == Side::left   ? missing
                       : side == Side::both ? missing / 2 + (missing & width & 1)
                                            : 0;
  const Value before = repeat(runtime, fill, left);
  const Value after = repeat(runtime, fill, missing - left);
  TextBuilder result(runtime);
  result.append(before.text());
  result.append(text);
  result.append(after.text());
  return Value::string(std::move(result).build(), value.is_markup());
}

}  // namespace nibble::jinja
