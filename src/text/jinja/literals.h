// Number and string literals of expressions, as Python reads them.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace nibble::jinja {

struct Number {
  Value value;
  bool is_real = false;
  size_t end = 0;  // one past it
};
// The literal at `begin`, a digit. Throws Error(bad_input) for integers beyond 128 bits.
Number read_number_literal(std::string_view text, size_t begin, bool allow_real);

// What stands between the quotes, its escapes decoded. Throws Error(bad_input) for damaged escapes,
// and for what UTF-8 cannot hold (surrogates).
std::string decode_string_literal(std::string_view body);

// int(text, base) and float(text); nothing for what is no number.
struct ParsedNumber {
  bool ok = false;
  Value value;
};
// Throws Error(bad_input) for integers beyond 128 bits.
ParsedNumber parse_integer(std::string_view text, int base);
ParsedNumber parse_real(std::string_view text);

}  // namespace nibble::jinja
