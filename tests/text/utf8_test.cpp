#include "text/utf8.h"

#include <gtest/gtest.h>

#include "text/golden_strings.h"

namespace nibble {
namespace {

TEST(Utf8, EveryScalarValueGoesThereAndBack) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    std::string text;
    append_utf8(text, c);
    ASSERT_EQ(decode_utf8(text, 0), c);
    ASSERT_EQ(utf8_length(text[0]), text.size());
    const bool surrogate = c >= 0xD800 && c < 0xE000;
    ASSERT_EQ(find_invalid_utf8(text), surrogate ? 0 : std::string::npos) << uint32_t{c};
    text = "x" + text;
    ASSERT_EQ(previous_utf8(text, text.size()), 1u);
  }
}

// Two bytes, exhaustively: exactly C2..DF with 80..BF, or two ASCII bytes.
TEST(Utf8, TwoBytes) {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const std::string text = {static_cast<char>(a), static_cast<char>(b)};
      const bool ok = (a < 0x80 && b < 0x80) || (a >= 0xC2 && a <= 0xDF && b >= 0x80 && b <= 0xBF);
      ASSERT_EQ(find_invalid_utf8(text) == std::string::npos, ok) << a << ' ' << b;
    }
  }
}

TEST(Utf8, OffsetOfTheFirstBadByte) {
  EXPECT_EQ(find_invalid_utf8(""), std::string::npos);
  EXPECT_EQ(find_invalid_utf8("0123456789\xE4\xBD\xA0\x80"), 13u);
  EXPECT_EQ(find_invalid_utf8("0123456\xE4\xBD"), 7u);
  EXPECT_EQ(find_invalid_utf8("\xE0\x9F\xBF"), 0u);      // overlong
  EXPECT_EQ(find_invalid_utf8("\xF0\x8F\xBF\xBF"), 0u);  // overlong
  EXPECT_EQ(find_invalid_utf8("\xF4\x90\x80\x80"), 0u);  // above U+10FFFF
}

// Expected values: Python's bytes.decode(errors="replace"), which follows the same rule.
TEST(Utf8, ReplacementPerMaximalPart) {
  const std::string r = "\uFFFD";
  EXPECT_EQ(replace_invalid_utf8("ok"), "ok");
  EXPECT_EQ(replace_invalid_utf8("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a" + r + r + r + "b" + r + "c" + r + r + "d");
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80"), r + r + r);
  EXPECT_EQ(replace_invalid_utf8("\xF0\x9F\x98"), r);
  EXPECT_EQ(replace_invalid_utf8("\xC0\xAF\xFF"), r + r + r);
}

TEST(Utf8, GarbledTextIsReplacedAsPythonDoes) {
  const auto rows = test::read_json(test::golden("text/invalid_utf8.json"));
  ASSERT_GE(rows.size(), 400u);
  for (const auto& row : rows) {
    const std::string hex = row.at(0);
    std::string bytes;
    for (size_t i = 0; i < hex.size(); i += 2)
      bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    EXPECT_EQ(replace_invalid_utf8(bytes), row.at(1).get<std::string>()) << hex;
  }
}

TEST(Utf8, WhiteSpace) {
  int count = 0;
  for (char32_t c = 0; c < 0x110000; ++c) count += is_white_space(c);
  EXPECT_EQ(count, 25);  // PropList.txt: "Total code points: 25"
  EXPECT_FALSE(is_white_space(0x180E));
  EXPECT_FALSE(is_white_space(0x200B));
}

}  // namespace
}  // namespace nibble
