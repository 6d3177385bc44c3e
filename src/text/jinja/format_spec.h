// A format specification, as both kinds of formatting read it, and numbers written by it.
#pragma once

#include <string>

#include "text/jinja/value.h"

namespace nibble::jinja {

struct FormatSpec {
  char32_t fill = ' ';
  char align = 0;  // '<', '>', '^', '=' (between sign and digits); 0: as the type has it
  char sign = '-';
  bool alternate = false;
  char grouping = 0;  // ',' or '_'
  int64_t width = 0;
  int64_t precision = -1;
  char type = 0;
};

// Bounds that keep a hostile width or precision from making gigabytes.
inline constexpr int64_t kMaxFormatWidth = 1 << 24;
inline constexpr int64_t kMaxFormatPrecision = 1000;

// Sign and digits, without padding: of an integer for b, d, o, x, X; of a real for e, f, g, %.
// least_digits: printf's precision of integers.
struct FormattedNumber {
  std::string sign;    // "-", "+", " " or ""
  std::string prefix;  // "0x" and the like
  std::string digits;
};
FormattedNumber format_integer(WideInt value, const FormatSpec& spec, int64_t least_digits);
FormattedNumber format_real(double value, const FormatSpec& spec);

// The number padded to the width.
void append_padded(TextBuilder& out, const FormattedNumber& number, const FormatSpec& spec,
                   Mark mark);
// A text padded to the width, cut to the precision.
void append_padded(Runtime& runtime, TextBuilder& out, const Text& text, const FormatSpec& spec);

}  // namespace nibble::jinja
