#include "text/byte_level.h"

#include <array>

#include "text/utf8.h"

namespace nibble {
namespace {

constexpr size_t kAlphabetEnd = 0x144;  // one past the largest character of the alphabet

constexpr std::array<char32_t, 256> make_alphabet() {
  std::array<char32_t, 256> alphabet{};
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool prints = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    alphabet[byte] = prints ? byte : next++;
  }
  return alphabet;
}

constexpr std::array<int, kAlphabetEnd> make_bytes() {
  std::array<int, kAlphabetEnd> bytes{};
  for (int& byte : bytes) byte = -1;
  const std::array<char32_t, 256> alphabet = make_alphabet();
  for (int byte = 0; byte < 256; ++byte) bytes[alphabet[static_cast<size_t>(byte)]] = byte;
  return bytes;
}

}  // namespace

std::string to_byte_level(std::string_view bytes) {
  static constexpr std::array<char32_t, 256> kAlphabet = make_alphabet();
  std::string spelled;
  for (const char byte : bytes) append_utf8(spelled, kAlphabet[static_cast<uint8_t>(byte)]);
  return spelled;
}

std::optional<std::string> from_byte_level(std::string_view spelled) {
  static constexpr std::array<int, kAlphabetEnd> kBytes = make_bytes();
  std::string bytes;
  for (size_t i = 0; i < spelled.size(); i += utf8_length(spelled[i])) {
    const char32_t c = decode_utf8(spelled, i);
    if (c >= kAlphabetEnd || kBytes[c] < 0) return std::nullopt;
    bytes += static_cast<char>(static_cast<uint8_t>(kBytes[c]));
  }
  return bytes;
}

}  // namespace nibble
