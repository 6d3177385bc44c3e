#include "files/json_scanner.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>

#include "core/error.h"

namespace nibble {
namespace {

constexpr uint64_t every_byte(uint8_t byte) { return 0x0101010101010101u * byte; }

// Whether any of the 8 bytes is not plain inside a string: control, quote, backslash, non-ASCII.
// (The zero-byte test may misfire above a true hit, never without one.)
bool holds_special(uint64_t word) {
  const uint64_t quote = word ^ every_byte('"');
  const uint64_t backslash = word ^ every_byte('\\');
  const uint64_t zero_in = ((quote - every_byte(1)) & ~quote) |
                           ((backslash - every_byte(1)) & ~backslash) |
                           ((word - every_byte(0x20)) & ~word) | word;
  return (zero_in & every_byte(0x80)) != 0;
}

void append_utf8(std::string& out, uint32_t code) {
  const auto push = [&out](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    push(code);
  } else if (code < 0x800) {
    push(0xC0 | (code >> 6));
    push(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    push(0xE0 | (code >> 12));
    push(0x80 | ((code >> 6) & 0x3F));
    push(0x80 | (code & 0x3F));
  } else {
    push(0xF0 | (code >> 18));
    push(0x80 | ((code >> 12) & 0x3F));
    push(0x80 | ((code >> 6) & 0x3F));
    push(0x80 | (code & 0x3F));
  }
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

std::string printable(std::string_view text) {
  constexpr size_t shown = 100;
  std::string out = "\"";
  for (const char c : text.substr(0, shown)) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c >= 0x20 && c < 0x7F) {
      out += c;
    } else {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  out += '"';
  if (text.size() > shown) out += fmt::format("... ({} bytes)", text.size());
  return out;
}

JsonScanner::JsonScanner(std::string_view text, std::string who, const JsonLimits& limits)
    : text_(text), who_(std::move(who)), limits_(limits) {
  if (text.size() > limits.max_bytes) {
    fail(ErrorKind::bad_input, "{}: got {} bytes, expected at most {}", who_, text.size(),
         limits.max_bytes);
  }
  if (text.substr(0, 3) == "\xEF\xBB\xBF") {
    refuse_at(0, "starts with a byte order mark; save the file as UTF-8 without BOM");
  }
}

void JsonScanner::refuse(const std::string& problem) const { refuse_at(event_start_, problem); }

void JsonScanner::refuse_at(size_t position, const std::string& problem) const {
  const auto line = 1 + std::count(text_.begin(), text_.begin() + position, '\n');
  fail(ErrorKind::bad_input, "{}: byte {} (line {}): {}", who_, position, line, problem);
}

void JsonScanner::refuse_unexpected(const char* expected) const {
  if (position_ >= text_.size()) {
    refuse_at(text_.size(), fmt::format("the text ends, expected {}; is it truncated?", expected));
  }
  refuse_at(position_,
            fmt::format("got {}, expected {}", printable(text_.substr(position_, 1)), expected));
}

void JsonScanner::skip_whitespace() {
  const char* at = text_.data() + position_;
  const char* const end = text_.data() + text_.size();
  while (at != end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')) ++at;
  position_ = static_cast<size_t>(at - text_.data());
}

JsonScanner::Event JsonScanner::next() {
  skip_whitespace();
  if (expect_ == Expect::comma_or_end) {
    if (in_object_.empty()) {
      if (position_ != text_.size()) refuse_unexpected("nothing after the document");
      return Event::end;
    }
    const bool object = in_object_.back();
    if (peek() == (object ? '}' : ']')) return close(object);
    if (peek() != ',') refuse_unexpected(object ? "',' or '}'" : "',' or ']'");
    ++position_;
    skip_whitespace();
    expect_ = object ? Expect::key : Expect::value;
  }
  event_start_ = position_;
  if (expect_ == Expect::key_or_end && peek() == '}') return close(true);
  if (expect_ == Expect::value_or_end && peek() == ']') return close(false);
  if (expect_ == Expect::key || expect_ == Expect::key_or_end) {
    if (peek() != '"') refuse_unexpected("a key in double quotes");
    read_string();
    skip_whitespace();
    if (peek() != ':') refuse_unexpected("':'");
    ++position_;
    expect_ = Expect::value;
    return Event::key;
  }
  return read_value();
}

JsonScanner::Event JsonScanner::open(bool object) {
  if (in_object_.size() >= limits_.max_depth) {
    refuse_at(position_, fmt::format("nested deeper than {} levels", limits_.max_depth));
  }
  ++position_;
  in_object_.push_back(object);
  expect_ = object ? Expect::key_or_end : Expect::value_or_end;
  return object ? Event::begin_object : Event::begin_array;
}

JsonScanner::Event JsonScanner::close(bool object) {
  event_start_ = position_++;
  in_object_.pop_back();
  expect_ = Expect::comma_or_end;
  return object ? Event::end_object : Event::end_array;
}

JsonScanner::Event JsonScanner::read_value() {
  if (++values_ > limits_.max_values) {
    refuse_at(position_, fmt::format("more than {} values", limits_.max_values));
  }
  const char first = peek();
  if (first == '{' || first == '[') return open(first == '{');
  expect_ = Expect::comma_or_end;
  switch (first) {
    case '"':
      read_string();
      return Event::string;
    case 't':
      boolean_ = true;
      return read_literal("true", Event::boolean);
    case 'f':
      boolean_ = false;
      return read_literal("false", Event::boolean);
    case 'n':
      return read_literal("null", Event::null);
    default:
      break;
  }
  if (first == '-' || is_digit(first)) return read_number();
  refuse_unexpected("a value");
}

JsonScanner::Event JsonScanner::read_literal(std::string_view word, Event event) {
  if (text_.substr(position_, word.size()) != word) refuse_unexpected("a value");
  position_ += word.size();
  return event;
}

JsonScanner::Event JsonScanner::read_number() {
  const size_t start = position_;
  const auto advance = [&] {
    ++position_;
    if (position_ - start > limits_.max_number_chars) {
      refuse_at(start, fmt::format("a number longer than {} characters", limits_.max_number_chars));
    }
  };
  const auto digits = [&] {
    if (!is_digit(peek())) refuse_unexpected("a digit");
    while (is_digit(peek())) advance();
  };
  const bool minus = peek() == '-';
  if (minus) advance();
  if (peek() == '0') {
    advance();
    if (is_digit(peek())) refuse_at(start, "a number with a leading zero");
  } else {
    digits();
  }
  bool integer = true;
  if (peek() == '.') {
    integer = false;
    advance();
    digits();
  }
  if (peek() == 'e' || peek() == 'E') {
    integer = false;
    advance();
    if (peek() == '+' || peek() == '-') advance();
    digits();
  }
  const char* const begin = text_.data() + start;
  const char* const end = text_.data() + position_;
  std::from_chars_result result{};
  if (!integer) {
    result = std::from_chars(begin, end, real_);
  } else if (minus) {
    result = std::from_chars(begin, end, negative_);
  } else {
    result = std::from_chars(begin, end, natural_);
  }
  if (integer && result.ec == std::errc::result_out_of_range && limits_.wide_integers_as_reals) {
    integer = false;
    result = std::from_chars(begin, end, real_);
  }
  if (result.ec != std::errc() || result.ptr != end) {
    refuse_at(start, fmt::format("the number {} does not fit {}",
                                 printable(text_.substr(start, position_ - start)),
                                 integer ? "a 64-bit integer" : "a double"));
  }
  if (!integer) return Event::real;
  return minus ? Event::negative : Event::natural;
}

void JsonScanner::read_string() {
  const size_t start = ++position_;  // after the opening quote
  size_t copied = start;             // text before this is in unescaped_, once there is an escape
  bool escaped = false;
  while (true) {
    while (position_ + 8 <= text_.size()) {
      uint64_t word;
      std::memcpy(&word, text_.data() + position_, 8);
      if (holds_special(word)) break;
      position_ += 8;
    }
    if (position_ >= text_.size()) refuse_unexpected("'\"' at the end of the string");
    const auto c = static_cast<unsigned char>(text_[position_]);
    if (c == '"') break;
    if (c < 0x20) refuse_at(position_, "an unescaped control character in a string");
    if (c >= 0x80) {
      position_ += utf8_length(position_);
    } else if (c == '\\') {
      if (!escaped) unescaped_.clear();
      escaped = true;
      unescaped_.append(text_.substr(copied, position_ - copied));
      read_escape();
      copied = position_;
    } else {
      ++position_;
    }
  }
  if (escaped) {
    unescaped_.append(text_.substr(copied, position_ - copied));
    string_ = unescaped_;
  } else {
    string_ = text_.substr(start, position_ - start);
  }
  ++position_;  // the closing quote
}

void JsonScanner::read_escape() {
  const size_t start = position_++;
  const char kind = peek();
  ++position_;
  switch (kind) {
    case '"':
    case '\\':
    case '/':
      unescaped_ += kind;
      return;
    case 'b':
      unescaped_ += '\b';
      return;
    case 'f':
      unescaped_ += '\f';
      return;
    case 'n':
      unescaped_ += '\n';
      return;
    case 'r':
      unescaped_ += '\r';
      return;
    case 't':
      unescaped_ += '\t';
      return;
    case 'u':
      break;
    default:
      refuse_at(start, "an unknown escape in a string");
  }
  uint32_t code = read_hex4();
  if (code >= 0xDC00 && code <= 0xDFFF) refuse_at(start, "a lone low surrogate escape");
  if (code >= 0xD800 && code <= 0xDBFF) {
    if (text_.substr(position_, 2) != "\\u") refuse_at(start, "a lone high surrogate escape");
    position_ += 2;
    const uint32_t low = read_hex4();
    if (low < 0xDC00 || low > 0xDFFF) refuse_at(start, "a lone high surrogate escape");
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  }
  append_utf8(unescaped_, code);
}

uint32_t JsonScanner::read_hex4() {
  const std::string_view hex = text_.substr(std::min(position_, text_.size()), 4);
  uint32_t code = 0;
  const auto result = std::from_chars(hex.data(), hex.data() + hex.size(), code, 16);
  if (hex.size() != 4 || result.ec != std::errc() || result.ptr != hex.data() + 4) {
    refuse_at(position_, "\\u without four hexadecimal digits");
  }
  position_ += 4;
  return code;
}

// Length of the well-formed UTF-8 sequence at `at` (Unicode table 3-7).
size_t JsonScanner::utf8_length(size_t at) const {
  const auto byte = [&](size_t i) -> unsigned {
    return at + i < text_.size() ? static_cast<unsigned char>(text_[at + i]) : 0u;
  };
  const unsigned lead = byte(0);
  unsigned low = 0x80, high = 0xBF;  // range of the second byte
  size_t length = 0;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;   // overlong
    if (lead == 0xED) high = 0x9F;  // surrogates
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;   // overlong
    if (lead == 0xF4) high = 0x8F;  // above U+10FFFF
  }
  bool valid = length != 0 && byte(1) >= low && byte(1) <= high;
  for (size_t i = 2; i < length; ++i) valid = valid && (byte(i) & 0xC0) == 0x80;
  if (!valid) refuse_at(at, "invalid UTF-8");
  return length;
}

}  // namespace nibble
