// Characters as Python 3.11's str knows them (Unicode 14).
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace nibble::jinja {

// str.isspace of one character: what strip() and split() take for white space.
bool is_space(char32_t c);
// Where str.splitlines() cuts.
bool is_line_break(char32_t c);
// What repr() prints as it is.
bool is_printable(char32_t c);
bool is_alphabetic(char32_t c);
bool is_alphanumeric(char32_t c);
bool is_decimal(char32_t c);
bool is_digit(char32_t c);
bool is_lower(char32_t c);
bool is_upper(char32_t c);
bool is_title(char32_t c);
inline bool is_cased(char32_t c) { return is_lower(c) || is_upper(c) || is_title(c); }
// Passed over when a final sigma is looked for.
bool is_case_ignorable(char32_t c);
bool is_identifier_start(char32_t c);
bool is_identifier_part(char32_t c);

// One character may become up to three.
struct Mapped {
  std::array<char32_t, 3> characters{};
  size_t count = 0;
};
Mapped to_upper(char32_t c);
Mapped to_lower(char32_t c);  // a final sigma is for the caller
Mapped to_title(char32_t c);
Mapped to_folded(char32_t c);

}  // namespace nibble::jinja
