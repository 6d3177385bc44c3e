#include "text/jinja/literals.h"

#include <charconv>
#include <limits>

#include "core/error.h"
#include "text/jinja/unicode.h"
#include "text/utf8.h"

namespace nibble::jinja {
namespace {

bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }

int digit_of(char c) {
  if (is_ascii_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'z') return c - 'a' + 10;
  if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
  return 99;
}

// Digits of the base from `at` on, single underscores between them; returns the end, and appends
// the digits. `at` itself where there are none.
size_t read_digits(std::string_view text, size_t at, int base, std::string& digits) {
  size_t end = at;
  for (size_t i = at; i < text.size();) {
    if (text[i] == '_' && i > at && i + 1 < text.size() && text[i - 1] != '_') {
      ++i;
      continue;
    }
    if (digit_of(text[i]) >= base) break;
    digits += text[i];
    end = ++i;
  }
  return end;
}

WideInt to_integer(std::string_view digits, int base) {
  WideInt value = 0;
  for (const char c : digits) {
    if (__builtin_mul_overflow(value, static_cast<WideInt>(base), &value) ||
        __builtin_add_overflow(value, static_cast<WideInt>(digit_of(c)), &value)) {
      fail(ErrorKind::bad_input, "an integer of {} digits: beyond 128 bits is not supported",
           digits.size());
    }
  }
  return value;
}

double to_real(const std::string& digits) {
  double value = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  // from_chars leaves the value alone where the result is out of range.
  if (result.ec == std::errc::result_out_of_range) {
    const size_t e = digits.find_first_of("eE");
    const bool tiny = e != std::string::npos && digits[e + 1] == '-';
    const bool zero = digits.substr(0, e).find_first_of("123456789") == std::string::npos;
    value = tiny || zero ? 0 : std::numeric_limits<double>::infinity();
    if (digits.starts_with('-')) value = -value;
  }
  return value;
}

// The end of a real at `at` (digits, a fraction, an exponent), or `at`; its characters without
// underscores are appended.
size_t read_real(std::string_view text, size_t at, std::string& number) {
  size_t end = read_digits(text, at, 10, number);
  if (end == at) return at;
  bool is_real = false;
  if (end + 1 < text.size() && text[end] == '.' && is_ascii_digit(text[end + 1])) {
    number += '.';
    end = read_digits(text, end + 1, 10, number);
    is_real = true;
  }
  if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
    std::string exponent = "e";
    size_t digits = end + 1;
    if (digits < text.size() && (text[digits] == '+' || text[digits] == '-')) {
      if (text[digits] == '-') exponent += '-';
      ++digits;
    }
    const size_t exponent_end = read_digits(text, digits, 10, exponent);
    if (exponent_end > digits) {
      number += exponent;
      end = exponent_end;
      is_real = true;
    }
  }
  return is_real ? end : at;
}

int base_of_prefix(std::string_view text, size_t at) {
  if (at + 1 >= text.size() || text[at] != '0') return 10;
  switch (text[at + 1]) {
    case 'b':
    case 'B':
      return 2;
    case 'o':
    case 'O':
      return 8;
    case 'x':
    case 'X':
      return 16;
    default:
      return 10;
  }
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(decode_utf8(text, 0))) text.remove_prefix(utf8_length(text[0]));
  while (!text.empty()) {
    const size_t last = previous_utf8(text, text.size());
    if (!is_space(decode_utf8(text, last))) break;
    text = text.substr(0, last);
  }
  return text;
}

// `count` hex digits at `at`.
char32_t read_hex(std::string_view body, size_t at, size_t count, char letter) {
  char32_t value = 0;
  for (size_t i = at; i < at + count; ++i) {
    if (i >= body.size() || digit_of(body[i]) >= 16) {
      fail(ErrorKind::bad_input, "truncated \\{} escape in a string", letter);
    }
    value = value * 16 + static_cast<char32_t>(digit_of(body[i]));
  }
  return value;
}

void append_character(std::string& result, char32_t c) {
  if (c > 0x10FFFF) fail(ErrorKind::bad_input, "illegal Unicode character in a string");
  if (c >= 0xD800 && c < 0xE000) {
    fail(ErrorKind::bad_input, "the surrogate U+{:04X} in a string: UTF-8 cannot hold it",
         static_cast<uint32_t>(c));
  }
  append_utf8(result, c);
}

}  // namespace

Number read_number_literal(std::string_view text, size_t begin, bool allow_real) {
  Number result;
  std::string number;
  if (allow_real) {
    result.end = read_real(text, begin, number);
    if (result.end > begin) {
      result.is_real = true;
      result.value = Value::real(to_real(number));
      return result;
    }
  }
  const int base = base_of_prefix(text, begin);
  number.clear();
  if (base != 10) {
    const size_t digits = begin + 2 + (begin + 2 < text.size() && text[begin + 2] == '_' ? 1 : 0);
    result.end = read_digits(text, digits, base, number);
    if (result.end > digits) {
      result.value = Value::integer(to_integer(number, base));
      return result;
    }
    number.clear();
  }
  // A leading zero is a number of its own.
  result.end = read_digits(text, begin, text[begin] == '0' ? 1 : 10, number);
  result.value = Value::integer(to_integer(number, 10));
  return result;
}

std::string decode_string_literal(std::string_view body) {
  std::string result;
  for (size_t i = 0; i < body.size();) {
    if (body[i] != '\\') {
      result += body[i++];
      continue;
    }
    const char c = body[i + 1];  // there is one: a backslash never ends a literal
    i += 2;
    static constexpr std::string_view kLetters = "\\'\"abfnrtv";
    static constexpr std::string_view kMeanings = "\\'\"\a\b\f\n\r\t\v";
    if (const size_t found = kLetters.find(c); found != std::string_view::npos) {
      result += kMeanings[found];
    } else if (c == '\n') {
      continue;
    } else if (c >= '0' && c <= '7') {
      char32_t value = 0;
      --i;
      for (int k = 0; k < 3 && i < body.size() && body[i] >= '0' && body[i] <= '7'; ++k) {
        value = value * 8 + static_cast<char32_t>(body[i++] - '0');
      }
      append_character(result, value);
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      append_character(result, read_hex(body, i, count, c));
      i += count;
    } else if (c == 'N') {
      fail(ErrorKind::bad_input, "\\N{{...}} escapes are not supported");
    } else if (static_cast<unsigned char>(c) >= 0x80) {
      // Jinja escapes what is not ASCII before it decodes: the backslash then stands for itself.
      const char32_t code = decode_utf8(body, i - 1);
      const auto value = static_cast<uint32_t>(code);
      result += code < 0x100     ? fmt::format("\\x{:02x}", value)
                : code < 0x10000 ? fmt::format("\\u{:04x}", value)
                                 : fmt::format("\\U{:08x}", value);
      i += utf8_length(c) - 1;
    } else {
      result += '\\';
      result += c;
    }
  }
  return result;
}

ParsedNumber parse_integer(std::string_view text, int base) {
  text = trimmed(text);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const int prefixed = base_of_prefix(text, 0);
  if (prefixed != 10 && (base == 0 || base == prefixed)) {
    text.remove_prefix(2);
    if (text.starts_with('_')) text.remove_prefix(1);
    base = prefixed;
  } else if (base == 0) {
    // "010" is refused, "00" is not.
    if (text.starts_with('0') && text.find_first_not_of("0_") != std::string_view::npos) return {};
    base = 10;
  }
  std::string digits;
  if (text.empty() || read_digits(text, 0, base, digits) != text.size()) return {};
  const WideInt value = to_integer(digits, base);
  return {true, Value::integer(negative ? -value : value)};
}

ParsedNumber parse_real(std::string_view text) {
  text = trimmed(text);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  std::string lower;
  for (const char c : text.substr(0, 9))
    lower += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  const double sign = negative ? -1.0 : 1.0;
  if (lower == "inf" || lower == "infinity") {
    return {true, Value::real(sign * std::numeric_limits<double>::infinity())};
  }
  if (lower == "nan") return {true, Value::real(std::numeric_limits<double>::quiet_NaN())};
  // Python also takes "1.", ".5" and "1e5".
  std::string number;
  size_t end = read_digits(text, 0, 10, number);
  bool any = end > 0;
  if (end < text.size() && text[end] == '.') {
    number += any ? "." : "0.";
    const size_t fraction = read_digits(text, end + 1, 10, number);
    any = any || fraction > end + 1;
    if (fraction == end + 1) number += '0';
    end = fraction;
  }
  if (!any) return {};
  if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
    size_t digits = end + 1;
    number += 'e';
    if (digits < text.size() && (text[digits] == '+' || text[digits] == '-')) {
      if (text[digits] == '-') number += '-';
      ++digits;
    }
    end = read_digits(text, digits, 10, number);
    if (end == digits) return {};
  }
  if (end != text.size()) return {};
  return {true, Value::real(sign * to_real(number))};
}

}  // namespace nibble::jinja
