// The tokenizers of real models against Hugging Face `tokenizers` on generated strings, and
// against the vectors that llama.cpp and Microsoft's Tokenizer ship.
#include <cstdio>
#include <sstream>

#include "core/error.h"
#include "text/golden_strings.h"
#include "text/tokenizer.h"

namespace nibble {
namespace {

using nlohmann::json;

Tokenizer load_real(const std::string& name) {
  return Tokenizer::from_json(test::read_json(test::shared_data() / "models" / name), name);
}

TEST(RealTokenizers, GeneratedStringsEqualTheLibrary) {
  NIBBLE_NEEDS_SHARED_DATA();
  const json real = test::read_json(test::golden("text/real_hashes.json"));
  ASSERT_EQ(real.size(), 8u);
  for (const auto& item : real.items()) {
    SCOPED_TRACE(item.key());
    const json file = test::read_json(test::shared_data() / "models" / item.key());
    if (item.value().is_null()) {  // the library refuses it, and so must we
      EXPECT_THROW(Tokenizer::from_json(file, item.key()), Error);
      std::printf("%-44s refused, as by the library\n", item.key().c_str());
      continue;
    }
    const auto counts =
        test::compare_hashes(Tokenizer::from_json(file, item.key()), file, item.value());
    EXPECT_GE(counts.strings, 10000u);
    std::printf("%-44s of %zu strings equal: ids %zu, offsets %zu, decoded %zu\n",
                item.key().c_str(), counts.strings, counts.equal_ids, counts.equal_offsets,
                counts.equal_texts);
  }
}

std::vector<std::string> split_at(const std::string& text, const std::string& mark) {
  std::vector<std::string> parts;
  size_t at = 0;
  for (size_t end; (end = text.find(mark, at)) != std::string::npos; at = end + mark.size())
    parts.push_back(text.substr(at, end - at));
  parts.push_back(text.substr(at));
  return parts;
}

TEST(RealTokenizers, LlamaCppVectors) {
  NIBBLE_NEEDS_SHARED_DATA();
  const auto folder = test::shared_data() / "tokenizer-vectors" / "llama.cpp";
  for (const auto& [vectors, model] : std::vector<std::pair<std::string, std::string>>{
           {"gpt-2", "GPT-2/tokenizer.json"},
           {"llama-bpe", "Llama-3.1-8B-Instruct/tokenizer.json"},
           {"llama-spm", "Llama-2-7b/tokenizer.hf-original.json"},
           {"phi-3", "Phi-3-mini/tokenizer.json"},
           {"qwen2", "Qwen3/tokenizer.json"}}) {
    SCOPED_TRACE(vectors);
    const Tokenizer tokenizer = load_real(model);
    const auto texts =
        split_at(test::read_file(folder / (vectors + ".inp")), "\n__ggml_vocab_test__\n");
    std::istringstream lines(test::read_file(folder / (vectors + ".out")));
    size_t equal = 0;
    for (const std::string& text : texts) {
      std::string line;
      std::getline(lines, line);
      std::istringstream numbers(line);
      std::vector<int32_t> expected;
      for (int32_t id; numbers >> id;) expected.push_back(id);
      EXPECT_EQ(tokenizer.encode(text, false).ids, expected) << text;
      equal += tokenizer.encode(text, false).ids == expected;
    }
    std::printf("%-10s %zu of %zu texts equal\n", vectors.c_str(), equal, texts.size());
  }
}

TEST(RealTokenizers, MicrosoftVectors) {
  NIBBLE_NEEDS_SHARED_DATA();
  const auto folder = test::shared_data() / "tokenizer-vectors" / "o200k-microsoft-Tokenizer";
  const std::string text = test::read_file(folder / "lib.rs.txt");
  for (const auto& [vectors, model] : std::vector<std::pair<std::string, std::string>>{
           {"tokens_gpt_4o.json", "Phi-4-mini-instruct/tokenizer.json"},
           {"tokens_gpt2.json", "GPT-2/tokenizer.json"}}) {
    const json expected = test::read_json(folder / vectors);
    const auto ids = load_real(model).encode(text, false).ids;
    EXPECT_EQ(json(ids), expected) << vectors;
    std::printf("%-22s %zu of %zu ids\n", vectors.c_str(), ids.size(), expected.size());
  }
}

// Templates put these into prompts; <|tool|> and its kin are not special, and all but two take the
// white space after them along.
TEST(RealTokenizers, Phi4AddedTokens) {
  NIBBLE_NEEDS_SHARED_DATA();
  const Tokenizer tokenizer = load_real("Phi-4-mini-instruct/tokenizer.json");
  EXPECT_EQ(tokenizer.vocab_size(), 200029);
  const Encoding encoding = tokenizer.encode("<|user|> \n x<|end|>\n<|endoftext|> y", true);
  const auto x = tokenizer.id_of("x");
  ASSERT_TRUE(x);
  ASSERT_EQ(encoding.ids.size(), 5u);
  EXPECT_EQ(encoding.ids[0], 200021);
  EXPECT_EQ(encoding.ids[1], *x);
  EXPECT_EQ(encoding.ids[2], 200020);
  EXPECT_EQ(encoding.ids[3], 199999);
  EXPECT_EQ(tokenizer.piece(encoding.ids[4]), "\u0120y");
  EXPECT_EQ(encoding.offsets[0], (std::pair<uint32_t, uint32_t>{0, 11}));
  EXPECT_FALSE(tokenizer.is_special(*tokenizer.id_of("<|tool|>")));
  EXPECT_TRUE(tokenizer.is_special(*tokenizer.id_of("<|end|>")));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("<|tool|>a<|end|>", true).ids, true), "<|tool|>a");
}

TEST(RealTokenizers, EveryIdDecodesAndEncodes) {
  NIBBLE_NEEDS_SHARED_DATA();
  const Tokenizer tokenizer = load_real("tinystories-260k/tokenizer.json");
  EXPECT_EQ(tokenizer.vocab_size(), 512);
  const std::string text =
      "Once upon a time, there was a little girl named Lily.\n\u00e9\U0001F600";
  const auto ids = tokenizer.encode(text, true).ids;
  EXPECT_EQ(ids.front(), 1);
  EXPECT_EQ(tokenizer.decode(ids, true), text);
}

}  // namespace
}  // namespace nibble
