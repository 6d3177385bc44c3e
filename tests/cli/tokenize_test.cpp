// nibble tokenize: the program around text/, whose own tests compare it with Hugging Face.
#include <gtest/gtest.h>

#include "support/commands.h"

namespace nibble::test {
namespace {

std::vector<std::string> tokenize(const std::vector<std::string>& more) {
  return joined({"tokenize", "--model_name_or_path", golden("commands").string()}, more);
}

TEST(Tokenize, GivesIdsAndPieces) {
  const auto json = json_of(tokenize({"--text", "the cat", "--json"}));
  EXPECT_EQ(json.at("pieces").at(0), "<s>");
  std::string pieces;
  for (const auto& piece : json.at("pieces")) pieces += piece.get<std::string>();
  EXPECT_EQ(pieces,
            "<s>the\xC4\xA0"
            "cat");
  EXPECT_EQ(json.at("ids").size(), json.at("pieces").size());
  const auto bare =
      json_of(tokenize({"--text", "the cat", "--add_special_tokens", "false", "--json"}));
  EXPECT_EQ(bare.at("ids").size() + 1, json.at("ids").size());
  EXPECT_EQ(json_of(tokenize({"--text", "", "--json"})).at("ids"), nlohmann::json({1}));
}

TEST(Tokenize, TakesAFileAsItIs) {
  NIBBLE_NEEDS_SHARED_DATA();
  const std::string model = (shared_data() / "models" / "tinystories-260k").string();
  const TempDir folder;
  const auto ids = [&](const std::string& bytes) {
    write_file(folder / "text", bytes);
    return json_of({"tokenize", "--model_name_or_path", model, "--file", (folder / "text").string(),
                    "--json"})
        .at("ids")
        .get<std::vector<int>>();
  };
  const auto without = ids("Once upon a time"), with = ids("Once upon a time\n");
  ASSERT_EQ(with.size(), without.size() + 1);
  EXPECT_TRUE(std::equal(without.begin(), without.end(), with.begin()));
}

TEST(Tokenize, RefusesWhatItCannotDo) {
  expect_failure(tokenize({}), 64, "either --text TEXT or --file FILE");
  expect_failure(tokenize({"--text", "a", "--file", "b"}), 64, "either --text");
  expect_failure(tokenize({"--text", "\xFF"}), 66, "UTF-8");
  expect_failure(tokenize({"--file", "/nowhere"}), 66, "/nowhere");
  expect_failure({"tokenize", "--text", "a"}, 64, "model_name_or_path is missing");
  expect_failure(
      {"tokenize", "--model_name_or_path", golden("models/llama3").string(), "--text", "a"}, 66,
      "tokenizer.json");
}

}  // namespace
}  // namespace nibble::test
