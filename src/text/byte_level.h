// GPT-2's spelling of bytes as printable characters: every byte is one character of the
// vocabulary, and no token holds a space or a control character ("Ġthe" is " the").
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace nibble {

// Each byte is spelled as itself where it prints in Latin-1, else as U+0100 and on in order of the
// bytes.
std::string to_byte_level(std::string_view bytes);

// The bytes that `spelled` (valid UTF-8) spells; nothing if a character is not of the alphabet.
std::optional<std::string> from_byte_level(std::string_view spelled);

}  // namespace nibble
