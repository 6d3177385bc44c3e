// Where Hugging Face `tokenizers` and the system's libraries hold tables of different Unicode
// versions, bridged so that ids do not depend on the machine. Made by
// tools/make_unicode_tables.py.
#pragma once

#include <string>
#include <string_view>

namespace nibble {

// `tokenizers` reads regular expressions with Unicode 16; PCRE2 10.42 knows Unicode 14. Does the
// text hold a character that came between?
bool has_newer_characters(std::string_view text);

// The same text with each such character replaced by one of the same general category and the
// same UTF-8 length that Unicode 14 knows.
std::string with_known_characters(std::string_view text);

// `tokenizers` normalizes with the tables of Unicode 9: a character that takes part in
// composition or reordering only since then stands alone there.
bool is_inert_in_normalization(char32_t c);

}  // namespace nibble
