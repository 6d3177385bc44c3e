// UTF-8 by hand: validation at the door, then decoding that may trust it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace nibble {

// Offset of the first byte that is not part of well-formed UTF-8 (RFC 3629: no surrogates, no
// overlong forms, nothing above U+10FFFF); npos when all is well.
size_t find_invalid_utf8(std::string_view text);

// Each maximal ill-formed part becomes one U+FFFD (as Rust's from_utf8_lossy and WHATWG do).
std::string replace_invalid_utf8(std::string_view bytes);

void append_utf8(std::string& text, char32_t c);

// White_Space of the Unicode Character Database (stable since Unicode 6.3).
bool is_white_space(char32_t c);

inline bool is_utf8_continuation(char byte) {
  return (static_cast<uint8_t>(byte) & 0xC0u) == 0x80u;
}

// Length of the character that starts with this byte, in well-formed text.
inline size_t utf8_length(char lead) {
  const auto byte = static_cast<uint8_t>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

// The character at `position`, which starts one, in well-formed text.
inline char32_t decode_utf8(std::string_view text, size_t position) {
  const auto byte = [&](size_t i) { return char32_t{static_cast<uint8_t>(text[position + i])}; };
  const auto tail = [&](size_t i) { return byte(i) & 0x3Fu; };
  switch (utf8_length(text[position])) {
    case 1:
      return byte(0);
    case 2:
      return (byte(0) & 0x1Fu) << 6 | tail(1);
    case 3:
      return (byte(0) & 0x0Fu) << 12 | tail(1) << 6 | tail(2);
    default:
      return (byte(0) & 0x07u) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3);
  }
}

// Start of the character before `position` (> 0), in well-formed text.
inline size_t previous_utf8(std::string_view text, size_t position) {
  do {
    --position;
  } while (is_utf8_continuation(text[position]));
  return position;
}

}  // namespace nibble
