// The text that streams out, id by id, is the text of all ids, in whole characters.
#include "text/text_stream.h"

#include <gtest/gtest.h>

#include "files/json.h"
#include "support/data.h"
#include "text/utf8.h"

namespace nibble::test {
namespace {

Tokenizer tokenizer_of(const std::string& name) {
  const auto path = golden("text/" + name + ".tokenizer.json");
  return Tokenizer::from_json(read_json_file(path, path.string()), path.string());
}

const std::string text =
    "Once upon a time, in K\xC3\xB6ln: \xE4\xBD\xA0\xE5\xA5\xBD \xF0\x9F\xA6\x99\xF0\x9F\x91\xA9"
    "\xE2\x80\x8D\xF0\x9F\x9A\x80  two spaces\n\tand a tab. \xF0\x9F\xA6\x99";

class Streams : public testing::TestWithParam<const char*> {};

TEST_P(Streams, WholeCharactersOfTheWholeText) {
  const Tokenizer tokenizer = tokenizer_of(GetParam());
  const std::vector<int32_t> ids = tokenizer.encode(text, true).ids;
  // After each possible prompt: prompt and stream together are all of the text.
  for (size_t prompt = 0; prompt < ids.size(); ++prompt) {
    const std::span all(ids);
    const std::string before = tokenizer.decode(all.first(prompt), true);
    if (before.ends_with("\xEF\xBF\xBD")) continue;  // cut in the middle of a character
    TextStream stream(tokenizer, {ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(prompt)});
    std::string told = before;
    for (const int32_t id : all.subspan(prompt)) {
      const std::string piece = stream.add(id);
      EXPECT_EQ(find_invalid_utf8(piece), std::string::npos);
      EXPECT_EQ(piece.find("\xEF\xBF\xBD"), std::string::npos);
      told += piece;
    }
    EXPECT_EQ(told + stream.finish(), tokenizer.decode(ids, true)) << "after " << prompt << " ids";
  }
}

TEST_P(Streams, AnIncompleteCharacterWaitsForTheEnd) {
  const Tokenizer tokenizer = tokenizer_of(GetParam());
  // No golden tokenizer has this character (Linear B) as one token.
  std::vector<int32_t> ids = tokenizer.encode("a\xF0\x90\x80\x80", false).ids;
  ids.pop_back();
  const std::string whole = tokenizer.decode(tokenizer.encode("a", false).ids, true);
  TextStream stream(tokenizer, {});
  std::string told;
  for (const int32_t id : ids) told += stream.add(id);
  EXPECT_EQ(told, whole);
  EXPECT_EQ(stream.finish().substr(0, 3), "\xEF\xBF\xBD");
  EXPECT_EQ(stream.finish(), "");
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, Streams, testing::Values("llama2", "llama3", "qwen", "gpt2"));

}  // namespace
}  // namespace nibble::test
