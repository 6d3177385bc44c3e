// Oniguruma's regular expressions, as tokenizer.json holds them, in PCRE2's syntax.
#pragma once

#include <string>
#include <string_view>

namespace nibble {

// Accepts the part of the syntax that both engines read, and writes it so that both mean the same:
//   \s and \S are spelled out as White_Space (PCRE2 adds U+180E); \v is a vertical tab, not a
//   class; \uHHHH becomes \x{HHHH}.
// Everything else is refused with its position: where the engines differ (\w \h \b, POSIX brackets,
// set operations, nested sets, inline (?i) without a group, {,n}, classes and foldings of several
// characters under (?i:)), back references and recursion, and repeats that never give back
// (a++, (?>...)), whose cost the step limit cannot see.
// Throws Error(bad_input); `who` names the pattern.
std::string to_pcre2(std::string_view oniguruma_pattern, const std::string& who);

}  // namespace nibble
