// Patterns written for Oniguruma. The pieces expected here are those that `tokenizers` 0.23.3 gives
// for Split(pattern, "isolated").
#include "text/regex.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "text/golden_strings.h"
#include "text/pattern.h"

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

// Patterns of real tokenizers, and every construct, on generated strings.
TEST(Regex, GeneratedStringsEqualTheLibrary) {
  const auto made_of = test::fragments();
  const auto golden = test::read_json(test::golden("text/regex.json"));
  ASSERT_GE(golden.size(), 36u);
  for (const auto& row : golden) {
    const std::string pattern = row.at(0);
    size_t i = 0;
    for (const auto& lengths : row.at(1)) {
      const std::string text = test::make_string(made_of, {" "}, i++);
      std::vector<size_t> got;
      for (const std::string& piece : cut(pattern, text)) got.push_back(piece.size());
      EXPECT_EQ(nlohmann::json(got), lengths) << pattern << " cuts " << text;
    }
  }
}

TEST(Regex, WordsOutsideAndInsideOfClasses) {
  EXPECT_EQ(cut("\\w+", "a\u00bd\u00b2 b"), (Strings{"a\u00bd\u00b2", " ", "b"}));
  EXPECT_EQ(cut("[\\w]+", "a\u00bd\u00b2 b"), (Strings{"a", "\u00bd\u00b2 ", "b"}));
}

TEST(Regex, PossessiveAndAtomicNeverGiveBack) {
  EXPECT_EQ(cut("a++a|b", "aab"), (Strings{"aa", "b"}));
  EXPECT_EQ(cut("(?>a+)a|b", "aab"), (Strings{"aa", "b"}));
  EXPECT_EQ(cut("a{1,2}+b", "aaab"), (Strings{"aaab"}));  // a repeat of a repeat, not possessive
}

TEST(RegexSyntax, RefusesByName) {
  for (const auto& [pattern, what] : std::vector<std::pair<std::string, std::string>>{
           {"(a)\\1", "escape \\1"},
           {"\\", "escape"},
           {"\\pL", "property without braces"},
           {"\\p{", "property without braces"},
           {"[]a]", "empty class"},
           {"[a", "not closed"},
           {"[\\s-a]", "range from a set"},
           {"(?<n>a)", "kind of group"},
           {"(?P<n>a)", "kind of group"},
           {"(?R)", "kind of group"},
           {"(*UTF)", "kind of group"},
           {"a{,2}", "counted repeat"},
           {"a{2", "counted repeat"},
           {"a{100001}", "counted repeat"},
           {"a{99999999999999999999}", "counted repeat"},
           {"*a", "a repeat of nothing"},
           {"{2}", "brace that is no repeat"},
           {"(a", "not closed"},
           {"a)", "unmatched"},
           {"(?i:ss)", "folds to one character"},
           {"(?i:sS)", "folds to one character"},
           {"(?i)ss", "folds to one character"},
           {"(?i:[a-\u00ff])", "anything but ASCII"},
           {"(?i:\\p{L})", "a set of characters under (?i)"},
           {"[[:alpha:]]", "POSIX bracket"},
           {"\\p{Klingon}", "property 'Klingon'"},
           {"[a-", "a range without an end"},
           {"[z-a]", "a range that runs backwards"},
           {"(?=a)*", "a repeat of what has no length"},
           {"^*", "a repeat of what has no length"},
           {"a{2}?", "a lazy repeat of a fixed number"},
           {"(?<=a+)b", "a lookbehind of varying length"},
           {"\\x{110000}", "spelling of a code point"},
           {"(?m:.)", "kind of group"},
           {"\\Ga", "escape \\G"},
           {"a*****", "so many repeats"},
           {"((((a{100}){100}){100}){100}){100}", "longer than"},
           {"\xff", "not UTF-8 at byte 0"},
           {std::string(200, '(') + "a" + std::string(200, ')'), "nesting"},
           {"(?i:\u00e9)", "anything but ASCII"},
           {"\\x41", "spelling of a code point"},
           {"\\x{}", "spelling of a code point"},
           {"\\u12", "spelling of a code point"},
           {std::string(20000, 'a'), "20000 bytes"}}) {
    try {
      Regex(pattern, "tokenizer.json: pattern");
      ADD_FAILURE() << "accepted " << pattern.substr(0, 80);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::bad_input);
      EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
    }
  }
}

// A body that matches nothing, however often it is asked to, and one that loops.
TEST(RegexSyntax, RepeatsOfNothing) {
  EXPECT_EQ(cut("(?:(?:(?:){100000}){100000}){100000}b", "ab"), (Strings{"a", "b"}));
  EXPECT_EQ(cut("(?:a*)*b|a", "aab"), (Strings{"aab"}));
  EXPECT_EQ(cut("(?:a?)*?b", "aab"), (Strings{"aab"}));
}

}  // namespace
}  // namespace nibble
