// Patterns written for Oniguruma, matched by PCRE2. The pieces expected here are those that
// `tokenizers` 0.23.3 gives for Split(pattern, "isolated").
#include "text/regex.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "text/pattern.h"
#include "text/regex_dialect.h"

namespace nibble {
namespace {

using Strings = std::vector<std::string>;

Strings cut(const std::string& pattern, std::string_view text,
            SplitBehavior behavior = SplitBehavior::isolated, bool invert = false) {
  std::vector<Match> pieces;
  split(text, Pattern(Regex(pattern, "test")), behavior, invert, pieces);
  Strings out;
  for (const Match& piece : pieces)
    out.emplace_back(text.substr(piece.begin, piece.end - piece.begin));
  return out;
}

TEST(Regex, EmptyMatches) {
  EXPECT_EQ(cut("x*", "axxb\u00e9"), (Strings{"a", "xx", "b", "\u00e9"}));
  EXPECT_EQ(cut("x*", "axxb\u00e9", SplitBehavior::removed), (Strings{"a", "b", "\u00e9"}));
  EXPECT_EQ(cut("x*", ""), Strings{});
}

TEST(Regex, LinesAndDots) {
  EXPECT_EQ(cut("^b", "aab\nb\u00df"), (Strings{"aab\n", "b", "\u00df"}));
  EXPECT_EQ(cut("b$", "aab\nb\u00df"), (Strings{"aa", "b", "\nb\u00df"}));
  EXPECT_EQ(cut(".+", "a\r\nb"), (Strings{"a\r", "\n", "b"}));
}

TEST(Regex, WhiteSpaceIsUnicodes) {
  // U+180E is no white space; U+0085, U+00A0, U+2028 and U+3000 are.
  EXPECT_EQ(cut("\\s+", "a\u180eb \u0085\u00a0\u2028\u3000c"),
            (Strings{"a\u180eb", " \u0085\u00a0\u2028\u3000", "c"}));
  EXPECT_EQ(cut("[^\\S\\n]+", "a \t\n b"), (Strings{"a", " \t", "\n", " ", "b"}));
  EXPECT_EQ(cut("\\v", "a\x0b\x0c"), (Strings{"a", "\x0b", "\x0c"}));
}

TEST(Regex, FoldsOneLetterOnly) {
  EXPECT_EQ(cut("(?i:'s|'ve)", "a'\u017fb'VEc"), (Strings{"a", "'\u017f", "b", "'VE", "c"}));
}

TEST(Regex, EscapesAndCodePoints) {
  EXPECT_EQ(cut("[\\u4e00-\\u9fa5\\x{3040}-\\x{30ff}]+", "a\u4e2d\u3042b"),
            (Strings{"a", "\u4e2d\u3042", "b"}));
  EXPECT_EQ(cut("\\.\\[|[\\]\\-a-c]", "x.[]-b"), (Strings{"x", ".[", "]", "-", "b"}));
  EXPECT_EQ(cut("\u00e9+", "a\u00e9\u00e9b"), (Strings{"a", "\u00e9\u00e9", "b"}));
}

TEST(Regex, NewerCharactersHaveTheirCategory) {
  // U+31350 (a letter), U+11F50 (a digit), U+1CCF0 (a digit): of Unicode 15 and 16.
  EXPECT_EQ(cut("\\p{N}+", "\U00031350\U00011F50\U0001CCF0."),
            (Strings{"\U00031350", "\U00011F50\U0001CCF0", "."}));
  EXPECT_EQ(cut("\\p{Lo}+", ".\U00031350."), (Strings{".", "\U00031350", "."}));
}

// Pieces of tokenizers.pre_tokenizers.Split for the same arguments.
TEST(Split, Behaviors) {
  const std::string text = "-the-final--countdown-";
  using enum SplitBehavior;
  const Strings apart = {"-", "the", "-", "final", "-", "-", "countdown", "-"};
  const Strings to_left = {"-", "the-", "final-", "-", "countdown-"};
  const Strings to_right = {"-the", "-final", "-", "-countdown", "-"};
  const Strings runs = {"-", "the", "-", "final", "--", "countdown", "-"};
  EXPECT_EQ(cut("-", text, removed), (Strings{"the", "final", "countdown"}));
  EXPECT_EQ(cut("-", text, removed, true), (Strings{"-", "-", "-", "-", "-"}));
  EXPECT_EQ(cut("-", text, SplitBehavior::isolated), apart);
  EXPECT_EQ(cut("-", text, SplitBehavior::isolated, true), apart);
  EXPECT_EQ(cut("-", text, merged_with_previous), to_left);
  EXPECT_EQ(cut("-", text, merged_with_previous, true), to_right);
  EXPECT_EQ(cut("-", text, merged_with_next), to_right);
  EXPECT_EQ(cut("-", text, merged_with_next, true), to_left);
  EXPECT_EQ(cut("-", text, contiguous), runs);
  EXPECT_EQ(cut("-", text, contiguous, true), runs);
  EXPECT_EQ(cut("-+|x", "xx-a-xx--b", contiguous), (Strings{"xx-", "a", "-xx--", "b"}));
  EXPECT_EQ(cut("-+|x", "xx-a-xx--b", merged_with_next),
            (Strings{"x", "x", "-a", "-", "x", "x", "--b"}));
}

// Where the two engines differ, or where the step limit cannot see the cost.
TEST(RegexDialect, RefusesByName) {
  for (const auto& [pattern, what] : std::vector<std::pair<std::string, std::string>>{
           {"\\w+", "escape \\w"},
           {"\\h", "escape \\h"},
           {"\\bx", "escape \\b"},
           {"(a)\\1", "escape \\1"},
           {"\\", "escape"},
           {"\\p{Han}", "property 'Han'"},
           {"\\p{^L}", "property name"},
           {"\\pL", "property without braces"},
           {"\\p{", "property name"},
           {"[[:alpha:]]", "class inside a class"},
           {"[a-z&&[b]]", "set operation"},
           {"[]a]", "empty class"},
           {"[a", "not closed"},
           {"[\\s-a]", "range from a set"},
           {"(?i)ab", "kind of group"},
           {"(?>a)", "kind of group"},
           {"(?<n>a)", "kind of group"},
           {"(?P<n>a)", "kind of group"},
           {"(?R)", "kind of group"},
           {"(*UTF)", "a repeat of nothing"},
           {"a{,2}", "counted repeat"},
           {"a{2", "counted repeat"},
           {"a{100001}", "counted repeat"},
           {"a{99999999999999999999}", "counted repeat"},
           {"a{2}+", "repeat of a counted repeat"},
           {"a++", "possessive"},
           {"a*+", "possessive"},
           {"a**", "possessive"},
           {"*a", "a repeat of nothing"},
           {"{2}", "brace that is no repeat"},
           {"(a", "not closed"},
           {"a)", "unmatched"},
           {"(?i:ss)", "folds to one character"},
           {"(?i:sS)", "folds to one character"},
           {"(?i:[a-z])", "ASCII letters"},
           {"(?i:\u00e9)", "ASCII letters"},
           {"\\x41", "spelling of a code point"},
           {"\\x{}", "spelling of a code point"},
           {"\\u12", "spelling of a code point"},
           {std::string(200, '('), "nesting"},
           {std::string(70000, 'a'), "70000 bytes"}}) {
    try {
      Regex(pattern, "tokenizer.json: pattern");
      ADD_FAILURE() << "accepted " << pattern.substr(0, 80);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::bad_input);
      EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
    }
  }
}

TEST(RegexDialect, RefusesWhatDoesNotCompile) {
  EXPECT_THROW(Regex("[z-a]", "test"), Error);
  EXPECT_THROW(Regex("\\x{110000}", "test"), Error);
  EXPECT_THROW(Regex("(?<=a+)b", "test"), Error);
}

}  // namespace
}  // namespace nibble
