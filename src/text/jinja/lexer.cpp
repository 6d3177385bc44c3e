#include "text/jinja/lexer.h"

#include <algorithm>

#include "core/error.h"
#include "text/jinja/literals.h"
#include "text/jinja/unicode.h"
#include "text/utf8.h"

namespace nibble::jinja {
namespace {

// Every line break becomes \n, and the last one of the source goes.
std::string normalize(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& who) : text_(normalize(source)), who_(who) {}

  std::vector<Token> run() {
    while (at_ < text_.size()) read_data();
    add(TokenKind::end);
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    nibble::fail(ErrorKind::bad_input, "{}: line {}: {}", who_, line_, problem);
  }

  bool starts(std::string_view what) const {
    return std::string_view(text_).substr(at_).starts_with(what);
  }
  void advance(size_t end) {
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<ptrdiff_t>(at_),
                                         text_.begin() + static_cast<ptrdiff_t>(end), '\n'));
    line_starts_ = end > at_ && text_[end - 1] == '\n';
    at_ = end;
  }
  size_t skip_space(size_t from) const {
    while (from < text_.size() && is_space(decode_utf8(text_, from))) {
      from += utf8_length(text_[from]);
    }
    return from;
  }
  // Past `word` and the white space around it, or npos.
  size_t skip_word(size_t from, std::string_view word) const {
    from = skip_space(from);
    if (!std::string_view(text_).substr(from).starts_with(word)) return std::string::npos;
    return skip_space(from + word.size());
  }

  void add(TokenKind kind, std::string text = {}, Value value = {}) {
    tokens_.push_back({kind, line_, std::move(text), std::move(value)});
  }

  // What stands before a tag whose sign is '-', '+' or neither.
  std::string_view data_before(size_t begin, size_t end, char sign, bool strips_line) const {
    const std::string_view data = std::string_view(text_).substr(begin, end - begin);
    if (sign == '-') {
      size_t stop = data.size();
      while (stop > 0) {
        const size_t before = previous_utf8(data, stop);
        if (!is_space(decode_utf8(data, before))) break;
        stop = before;
      }
      return data.substr(0, stop);
    }
    if (sign == '+' || !strips_line) return data;
    const size_t line_begin = data.rfind('\n') + 1;  // 0 when there is none
    if (line_begin == 0 && !line_starts_) return data;
    for (size_t i = line_begin; i < data.size(); i += utf8_length(data[i])) {
      if (!is_space(decode_utf8(data, i))) return data;
    }
    return data.substr(0, line_begin);
  }

  void add_data(std::string_view data, size_t tag) {
    if (!data.empty()) add(TokenKind::data, std::string(data));
    advance(tag);
  }

  char sign_at(size_t position) const {
    const char c = position < text_.size() ? text_[position] : '\0';
    return c == '-' || c == '+' ? c : '\0';
  }

  // Text up to the next tag, and that tag.
  void read_data() {
    size_t tag = at_;
    for (;; ++tag) {
      tag = text_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= text_.size()) {
        add_data(std::string_view(text_).substr(at_), text_.size());
        return;
      }
      if (text_[tag + 1] == '{' || text_[tag + 1] == '%' || text_[tag + 1] == '#') break;
    }
    const char kind = text_[tag + 1];
    const char sign = sign_at(tag + 2);
    add_data(data_before(at_, tag, sign, kind != '{'), tag);
    const size_t inside = tag + (sign ? 3 : 2);
    if (kind == '#') return read_comment(inside);
    if (kind == '%' && read_raw(inside)) return;
    add(kind == '{' ? TokenKind::variable_begin : TokenKind::block_begin);
    advance(inside);
    read_expression(kind == '{');
  }

  // Past the end of a tag at `close` ("%}", "#}"), with what trim_blocks and "-" take along; npos
  // if none is there.
  size_t skip_close(size_t from, std::string_view close) const {
    const std::string_view rest = std::string_view(text_).substr(std::min(from, text_.size()));
    const char sign = rest.empty() || (rest[0] != '-' && rest[0] != '+') ? '\0' : rest[0];
    if (!rest.substr(sign ? 1 : 0).starts_with(close)) return std::string::npos;
    const size_t end = from + (sign ? 1 : 0) + close.size();
    if (sign == '-') return skip_space(end);
    return !sign && end < text_.size() && text_[end] == '\n' ? end + 1 : end;
  }

  void read_comment(size_t inside) {
    const size_t close = text_.find("#}", inside);
    if (close == std::string::npos) fail("Missing end of comment tag");
    const bool signed_close = close > inside && sign_at(close - 1);
    advance(skip_close(signed_close ? close - 1 : close, "#}"));
  }

  // A raw block, whose text has no tags.
  bool read_raw(size_t inside) {
    size_t begin = skip_word(inside, "raw");
    if (begin == std::string::npos) return false;
    const bool strips = starts_at(begin, "-%}");
    if (!strips && !starts_at(begin, "%}")) return false;
    begin = strips ? skip_space(begin + 3) : begin + 2;
    advance(begin);
    for (size_t tag = text_.find("{%", begin); tag != std::string::npos;
         tag = text_.find("{%", tag + 1)) {
      const char sign = sign_at(tag + 2);
      const size_t word = skip_word(tag + (sign ? 3 : 2), "endraw");
      if (word == std::string::npos) continue;
      const size_t end = skip_close(word, "%}");
      if (end == std::string::npos) continue;
      add_data(data_before(begin, tag, sign, true), tag);
      advance(end);
      return true;
    }
    fail("Missing end of raw directive");
  }

  bool starts_at(size_t position, std::string_view what) const {
    return std::string_view(text_).substr(std::min(position, text_.size())).starts_with(what);
  }

  // The inside of {{ }} or {% %}, and its end.
  void read_expression(bool variable) {
    std::string open;  // brackets that wait to be closed
    for (;;) {
      if (at_ >= text_.size()) return;  // the parser finds what is missing
      if (open.empty() && read_end(variable)) return;
      const char32_t c = decode_utf8(text_, at_);
      if (is_space(c)) {
        advance(skip_space(at_));
      } else if (c >= '0' && c <= '9') {
        read_number();
      } else if (c == '"' || c == '\'') {
        read_string();
      } else if (is_identifier_part(c)) {
        read_name();
      } else {
        read_operator(open);
      }
    }
  }

  bool read_end(bool variable) {
    size_t end = std::string::npos;
    if (variable) {
      if (starts("}}")) end = at_ + 2;
      if (starts("-}}")) end = skip_space(at_ + 3);
    } else {
      end = skip_close(at_, "%}");
    }
    if (end == std::string::npos) return false;
    add(variable ? TokenKind::variable_end : TokenKind::block_end);
    advance(end);
    return true;
  }

  void read_number() {
    const bool after_dot = at_ > 0 && text_[at_ - 1] == '.';
    Number number;
    try {
      number = read_number_literal(text_, at_, !after_dot);
    } catch (const Error& error) {
      fail(error.what());
    }
    add(number.is_real ? TokenKind::real : TokenKind::integer, text_.substr(at_, number.end - at_),
        number.value);
    advance(number.end);
  }

  void read_string() {
    const char quote = text_[at_];
    size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) fail(fmt::format("unexpected char '{}': a string has no end", quote));
    std::string decoded;
    try {
      decoded = decode_string_literal(std::string_view(text_).substr(at_ + 1, end - at_ - 1));
    } catch (const Error& error) {
      fail(error.what());
    }
    add(TokenKind::string, std::move(decoded));
    advance(end + 1);
  }

  void read_name() {
    size_t end = at_;
    while (end < text_.size() && is_identifier_part(decode_utf8(text_, end))) {
      end += utf8_length(text_[end]);
    }
    if (!is_identifier_start(decode_utf8(text_, at_))) fail("Invalid character in identifier");
    add(TokenKind::name, text_.substr(at_, end - at_));
    advance(end);
  }

  void read_operator(std::string& open) {
    static constexpr std::string_view kLong[] = {"//", "**", "==", "!=", ">=", "<="};
    const std::string_view rest = std::string_view(text_).substr(at_);
    std::string_view symbol = rest.substr(0, 1);
    for (const std::string_view two : kLong) {
      if (rest.starts_with(two)) symbol = two;
    }
    if (symbol.size() == 1 &&
        std::string_view("+-/*%~[](){}><=.:|,;").find(symbol) == std::string_view::npos) {
      fail(fmt::format("unexpected char '{}'", rest.substr(0, utf8_length(rest[0]))));
    }
    const char c = symbol[0];
    if (c == '(' || c == '[' || c == '{') {
      open += c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
      if (open.empty()) fail(fmt::format("unexpected '{}'", c));
      if (open.back() != c) fail(fmt::format("unexpected '{}', expected '{}'", c, open.back()));
      open.pop_back();
    }
    add(TokenKind::op, std::string(symbol));
    advance(at_ + symbol.size());
  }

  std::string text_;
  const std::string& who_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  // what was read last ended a line
};

}  // namespace

std::vector<Token> tokenize(std::string_view source, const std::string& who) {
  if (source.size() > kMaxTemplateBytes) {
    fail(ErrorKind::bad_input, "{}: a template of {} bytes; at most {} are supported", who,
         source.size(), kMaxTemplateBytes);
  }
  if (const size_t bad = find_invalid_utf8(source); bad != std::string_view::npos) {
    fail(ErrorKind::bad_input, "{}: the template is not UTF-8 at byte {}", who, bad);
  }
  return Lexer(source, who).run();
}

}  // namespace nibble::jinja
