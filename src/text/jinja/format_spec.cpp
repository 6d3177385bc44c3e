#include "text/jinja/format_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "text/jinja/print.h"
#include "text/jinja/runtime.h"
#include "text/jinja/strings.h"
#include "text/utf8.h"

namespace nibble::jinja {
namespace {

std::string sign_of(bool negative, char sign) {
  return negative ? "-" : sign == '-' ? "" : std::string(1, sign);
}

// 1234567 -> 1,234,567; only what stands before the point.
std::string grouped(const std::string& digits, char mark, size_t every) {
  const size_t whole = std::min(digits.size(), digits.find_first_not_of("0123456789abcdefABCDEF"));
  std::string result = digits.substr(whole);
  for (size_t end = whole; end > 0;) {
    const size_t begin = end > every ? end - every : 0;
    result =
        digits.substr(begin, end - begin) + (end == whole ? "" : std::string(1, mark)) + result;
    end = begin;
  }
  return result;
}

}  // namespace

FormattedNumber format_integer(WideInt value, const FormatSpec& spec, int64_t least_digits) {
  FormattedNumber number;
  number.sign = sign_of(value < 0, spec.sign);
  using Unsigned = unsigned __int128;
  const Unsigned magnitude =
      value < 0 ? -static_cast<Unsigned>(value) : static_cast<Unsigned>(value);
  switch (spec.type) {
    case 'b':
      number.digits = fmt::format("{:b}", magnitude);
      break;
    case 'o':
      number.digits = fmt::format("{:o}", magnitude);
      break;
    case 'x':
      number.digits = fmt::format("{:x}", magnitude);
      break;
    case 'X':
      number.digits = fmt::format("{:X}", magnitude);
      break;
    default:
      number.digits = fmt::format("{}", magnitude);
  }
  const bool decimal = spec.type != 'b' && spec.type != 'o' && spec.type != 'x' && spec.type != 'X';
  if (spec.alternate && !decimal) number.prefix = std::string("0") + spec.type;
  const auto count = static_cast<int64_t>(number.digits.size());
  if (least_digits > count) {
    number.digits.insert(0, static_cast<size_t>(least_digits - count), '0');
  }
  if (spec.grouping) number.digits = grouped(number.digits, spec.grouping, decimal ? 3 : 4);
  return number;
}

FormattedNumber format_real(double value, const FormatSpec& spec) {
  FormattedNumber number;
  number.sign = sign_of(std::signbit(value) && !std::isnan(value), spec.sign);
  double magnitude = std::abs(value);
  const auto precision = static_cast<int>(spec.precision < 0 ? 6 : spec.precision);
  const char type = static_cast<char>(std::tolower(static_cast<unsigned char>(spec.type)));
  if (!std::isfinite(value)) {
    number.digits = std::isnan(value) ? "nan" : "inf";
  } else if (type == 'e') {
    number.digits = spec.alternate ? fmt::format("{:#.{}e}", magnitude, precision)
                                   : fmt::format("{:.{}e}", magnitude, precision);
  } else if (type == 'g') {
    number.digits = spec.alternate ? fmt::format("{:#.{}g}", magnitude, precision)
                                   : fmt::format("{:.{}g}", magnitude, precision);
  } else if (type == 0) {
    number.digits = format_real(magnitude);
  } else {
    if (type == '%') magnitude *= 100;
    number.digits = spec.alternate ? fmt::format("{:#.{}f}", magnitude, precision)
                                   : fmt::format("{:.{}f}", magnitude, precision);
  }
  if (type == '%') number.digits += '%';
  if (spec.type == 'E' || spec.type == 'F' || spec.type == 'G') {
    for (char& c : number.digits) {
      c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    }
  }
  if (spec.grouping && std::isfinite(value)) {
    number.digits = grouped(number.digits, spec.grouping, 3);
  }
  return number;
}

void append_padded(TextBuilder& out, const FormattedNumber& number, const FormatSpec& spec,
                   Mark mark) {
  const std::string head = number.sign + number.prefix;
  const auto length = static_cast<int64_t>(head.size() + number.digits.size());
  const int64_t missing = std::max<int64_t>(0, spec.width - length);
  const char align = spec.align ? spec.align : '>';
  const int64_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string fill;
  append_utf8(fill, spec.fill);
  const auto pad = [&](int64_t count) {
    for (int64_t i = 0; i < count; ++i) out.append(fill, mark);
  };
  if (align != '=') pad(left);
  out.append(head, mark);
  if (align == '=') pad(left);
  out.append(number.digits, mark);
  pad(missing - left);
}

void append_padded(Runtime& runtime, TextBuilder& out, const Text& text, const FormatSpec& spec) {
  const auto all = static_cast<int64_t>(text.length());
  const int64_t length = spec.precision < 0 ? all : std::min(all, spec.precision);
  const size_t end = byte_offset(text, static_cast<size_t>(length));
  const int64_t missing = std::max<int64_t>(0, spec.width - length);
  const int64_t left = spec.align == '>' ? missing : spec.align == '^' ? missing / 2 : 0;
  std::string fill;
  append_utf8(fill, spec.fill);
  runtime.charge_bytes(static_cast<size_t>(missing));
  for (int64_t i = 0; i < left; ++i) out.append(fill, kTemplateText);
  out.append(text, 0, end);
  for (int64_t i = left; i < missing; ++i) out.append(fill, kTemplateText);
}

}  // namespace nibble::jinja
