// Small tokenizers of every kind against what Hugging Face `tokenizers` did with them
// (tools/make_tokenizer_goldens.py).
#include "text/tokenizer.h"

#include "core/error.h"
#include "text/golden_strings.h"

namespace nibble {
namespace {

using nlohmann::json;

json fixture(const std::string& kind) {
  return test::read_json(test::golden("text/" + kind + ".tokenizer.json"));
}

Tokenizer load(const std::string& kind) {
  return Tokenizer::from_json(fixture(kind), kind + ".tokenizer.json");
}

class EveryKind : public testing::TestWithParam<const char*> {};

TEST_P(EveryKind, ReadableCasesEqualTheLibrary) {
  const std::string kind = GetParam();
  const Tokenizer tokenizer = load(kind);
  const json golden = test::read_json(test::golden("text/" + kind + ".golden.json"));
  ASSERT_GE(golden.at("cases").size(), 13u);
  for (const auto& expected : golden.at("cases")) {
    const auto text = expected.at("text").get<std::string>();
    SCOPED_TRACE(text);
    const Encoding encoding = tokenizer.encode(text, true);
    EXPECT_EQ(json(encoding.ids), expected.at("ids"));
    EXPECT_EQ(json(encoding.offsets), expected.at("offsets"));
    EXPECT_EQ(json(tokenizer.encode(text, false).ids), expected.at("plain_ids"));
    EXPECT_EQ(tokenizer.decode(encoding.ids, false), expected.at("decoded"));
    EXPECT_EQ(tokenizer.decode(encoding.ids, true), expected.at("decoded_plain"));
  }
}

TEST_P(EveryKind, GeneratedStringsEqualTheLibrary) {
  const std::string kind = GetParam();
  const json golden = test::read_json(test::golden("text/" + kind + ".golden.json"));
  const auto counts = test::compare_hashes(load(kind), fixture(kind), golden.at("hashes"));
  EXPECT_EQ(counts.strings, 2000u);
}

INSTANTIATE_TEST_SUITE_P(Kinds, EveryKind,
                         testing::Values("gpt2", "llama3", "qwen", "phi4", "llama2",
                                         "llama2_phrases", "metaspace_always", "metaspace_first",
                                         "metaspace_never", "splits"),
                         [](const auto& param) { return std::string(param.param); });

// Random normalizers, pre-tokenizers, models, post-processors, decoders and added tokens.
TEST(Tokenizer, RandomPartsEqualTheLibrary) {
  const json golden = test::read_json(test::golden("text/random.json"));
  ASSERT_GE(golden.size(), 36u);
  for (const auto& row : golden) {
    SCOPED_TRACE("seed " + row.at("seed").dump());
    const json& file = row.at("file");
    const auto counts =
        test::compare_hashes(Tokenizer::from_json(file, "random"), file, row.at("hashes"));
    EXPECT_EQ(counts.strings, 200u);
  }
}

// Every character there is, between a letter, a space and a digit: the classes of the patterns and
// the normalization are those of the library for all of Unicode.
TEST(Tokenizer, AllCharactersEqualTheLibrary) {
  for (const char* kind : {"phi4", "qwen"}) {
    const Tokenizer tokenizer = load(kind);
    const json golden = test::read_json(test::golden(std::string("text/") + kind + ".golden.json"));
    char32_t next = 0;
    for (const auto& expected : golden.at("all_characters")) {
      const char32_t chunk = next;
      test::ShortHash hash;
      for (; next < chunk + 0x1100; next += 0x100) {
        std::string text;
        for (char32_t c = next; c < next + 0x100; ++c) {
          if (c >= 0xD800 && c < 0xE000) continue;
          text += 'x';
          append_utf8(text, c);
          text += ' ';
          append_utf8(text, c);
          text += '1';
        }
        const Encoding encoding = tokenizer.encode(text, false);
        for (const int32_t id : encoding.ids) hash.add(id);
        for (const auto& [begin, end] : encoding.offsets)
          hash.add(static_cast<int32_t>(begin)).add(static_cast<int32_t>(end));
      }
      EXPECT_EQ(hash.hex(), expected) << kind << ", from U+" << std::hex << uint32_t{chunk};
    }
    EXPECT_EQ(next, char32_t{0x110000});
  }
}

TEST(Tokenizer, VocabularyBothWays) {
  const Tokenizer tokenizer = load("phi4");
  const json file = fixture("phi4");
  int32_t end = 0;
  for (const auto& item : file.at("model").at("vocab").items()) {
    const int32_t id = item.value();
    EXPECT_EQ(tokenizer.piece(id), item.key());
    EXPECT_EQ(tokenizer.id_of(item.key()), id);
    end = std::max(end, id + 1);
  }
  for (const auto& token : file.at("added_tokens")) {
    const int32_t id = token.at("id");
    EXPECT_EQ(tokenizer.piece(id), token.at("content"));
    EXPECT_EQ(tokenizer.is_special(id), token.at("special").get<bool>());
    end = std::max(end, id + 1);
  }
  EXPECT_EQ(tokenizer.vocab_size(), end);
  EXPECT_EQ(tokenizer.id_of("no such token"), std::nullopt);
  EXPECT_EQ(tokenizer.piece(end), "");
  EXPECT_EQ(tokenizer.piece(-1), "");
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{-1, end, INT32_MAX}, false), "");
}

TEST(Tokenizer, InvalidUtf8NamesTheByte) {
  const Tokenizer tokenizer = load("gpt2");
  for (const auto& [text, at] :
       std::vector<std::pair<std::string, std::string>>{{"\xFF", "byte 0"},
                                                        {"abc\xC0\x80", "byte 3"},
                                                        {"abcdefgh\xED\xA0\x80", "byte 8"},
                                                        {"\xE4\xBD", "byte 0"},
                                                        {"ok\xF4\x90\x80\x80", "byte 2"}}) {
    try {
      tokenizer.encode(text, true);
      ADD_FAILURE() << "accepted " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::bad_input);
      EXPECT_NE(std::string(error.what()).find(at), std::string::npos) << error.what();
    }
  }
}

// A word of a million symbols that all merge: quadratic work would take hours.
TEST(Tokenizer, LongWordsAreNotQuadratic) {
  for (const char* kind : {"gpt2", "llama2", "llama2_phrases", "phi4"}) {
    const Tokenizer tokenizer = load(kind);
    for (const char* part : {"the", "a", " ", "\xE2\x96\x81", "<", "\xCC\x81"}) {
      std::string text;
      while (text.size() < 1000000) text += part;
      const Encoding encoding = tokenizer.encode(text, false);
      ASSERT_FALSE(encoding.ids.empty());
      EXPECT_EQ(encoding.offsets.back().second, text.size());
    }
  }
}

TEST(Tokenizer, ThreadsGetTheSameIds) {
  const Tokenizer tokenizer = load("llama3");
  const auto made_of = test::fragments();
  std::vector<std::vector<int32_t>> expected(200), got(200);
  for (size_t i = 0; i < expected.size(); ++i)
    expected[i] = tokenizer.encode(test::make_string(made_of, {"<|eot_id|>"}, i), true).ids;
#pragma omp parallel for num_threads(4)
  for (size_t i = 0; i < got.size(); ++i)
    got[i] = tokenizer.encode(test::make_string(made_of, {"<|eot_id|>"}, i), true).ids;
  EXPECT_EQ(got, expected);
}

// --- what a file may not do ---

struct Refusal {
  const char* what;
  const char* kind;
  const char* patch;    // JSON Patch (RFC 6902) to the fixture
  const char* message;  // part of it
};

class Refused : public testing::TestWithParam<Refusal> {};

TEST_P(Refused, ByName) {
  const Refusal& refusal = GetParam();
  const json file = fixture(refusal.kind).patch(json::parse(refusal.patch));
  try {
    Tokenizer::from_json(file, "tokenizer.json");
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::bad_input);
    EXPECT_NE(std::string(error.what()).find(refusal.message), std::string::npos) << error.what();
    EXPECT_TRUE(std::string(error.what()).starts_with("tokenizer.json")) << error.what();
  }
}

constexpr const char* kToken =
    R"("single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true)";

std::string add_token(const std::string& id, const std::string& content) {
  return R"([{"op":"add","path":"/added_tokens/-","value":{"id":)" + id + R"(,"content":")" +
         content + R"(",)" + kToken + "}}]";
}

std::vector<Refusal> refusals() {
  static const std::string huge = add_token("2147483648", "<x>");
  static const std::string negative = add_token("-1", "<x>");
  static const std::string wrapping = add_token("18446744073709551615", "<x>");
  static const std::string real = add_token("7.5", "<x>");
  static const std::string twice = add_token("0", "<x>");
  static const std::string again = add_token("507", "<|end|>");
  static const std::string gap = add_token("600", "<x>");
  static const std::string empty = add_token("507", "");
  static const std::string longest = add_token("507", std::string(1025, 'x'));
  return {
      {"AddedIdBeyondInt32", "phi4", huge.c_str(), "2147483648"},
      {"AddedIdNegative", "phi4", negative.c_str(), "'id': got -1"},
      {"AddedIdBeyondInt64", "phi4", wrapping.c_str(), "18446744073709551615"},
      {"AddedIdNotInteger", "phi4", real.c_str(), "7.5"},
      {"AddedIdTwice", "phi4", twice.c_str(), "id 0 is there twice"},
      {"AddedContentTwice", "phi4", again.c_str(), "'<|end|>' is there twice"},
      {"AddedIdAfterGap", "phi4", gap.c_str(), "got id 600, expected 507"},
      {"AddedContentEmpty", "phi4", empty.c_str(), "content of 0 bytes"},
      {"AddedContentLong", "phi4", longest.c_str(), "content of 1025 bytes"},
      {"AddedFieldUnknown", "phi4", R"([{"op":"add","path":"/added_tokens/0/fuzzy","value":1}])",
       "'fuzzy'"},
      {"AddedNoList", "phi4", R"([{"op":"replace","path":"/added_tokens","value":{}}])",
       "expected an array"},
      {"VocabIdTwice", "phi4", R"([{"op":"add","path":"/model/vocab/new","value":7}])",
       "id 7 is there twice"},
      {"VocabIdNegative", "phi4", R"([{"op":"add","path":"/model/vocab/new","value":-7}])",
       "'new': got -7"},
      {"VocabIdHuge", "phi4", R"([{"op":"add","path":"/model/vocab/new","value":2147483647}])",
       "2147483647"},
      {"VocabNoObject", "phi4", R"([{"op":"replace","path":"/model/vocab","value":[]}])",
       "expected an object"},
      {"MergeUnknownPart", "phi4",
       R"([{"op":"add","path":"/model/merges/0","value":["nope","e"]}])",
       "merges[0]: 'nope' is not in the vocabulary"},
      {"MergeUnknownResult", "phi4", R"([{"op":"add","path":"/model/merges/0","value":["z","Z"]}])",
       "'zZ' is not in the vocabulary"},
      {"MergeThreeParts", "phi4",
       R"([{"op":"add","path":"/model/merges/0","value":["a","b","c"]}])", "expected two tokens"},
      {"MergeTwoSpaces", "phi4", R"([{"op":"add","path":"/model/merges/0","value":"a b c"}])",
       "expected two tokens"},
      {"MergeNumber", "phi4", R"([{"op":"add","path":"/model/merges/0","value":3}])",
       "expected two tokens"},
      {"Unigram", "phi4", R"([{"op":"replace","path":"/model/type","value":"Unigram"}])",
       "'Unigram' is not supported"},
      {"Dropout", "phi4", R"([{"op":"replace","path":"/model/dropout","value":0.1}])", "'dropout'"},
      {"SubwordPrefix", "phi4",
       R"([{"op":"replace","path":"/model/continuing_subword_prefix","value":"##"}])",
       "does not begin with continuing_subword_prefix '##'"},
      {"WordSuffixAndBytes", "llama2",
       R"([{"op":"replace","path":"/model/end_of_word_suffix","value":"</w>"}])",
       "'byte_fallback': together with"},
      {"UnkOfAnotherType", "phi4", R"([{"op":"replace","path":"/model/unk_token","value":7}])",
       "'unk_token': got number"},
      {"ModelField", "phi4", R"([{"op":"add","path":"/model/max_input","value":3}])",
       "'max_input'"},
      {"NormalizerType", "qwen",
       R"([{"op":"replace","path":"/normalizer","value":{"type":"Precompiled"}}])",
       "normalizer: the type 'Precompiled' is not supported"},
      {"NormalizerNested", "llama2",
       R"([{"op":"add","path":"/normalizer/normalizers/0","value":{"type":"Sequence","normalizers":
           [{"type":"Sequence","normalizers":[{"type":"Sequence","normalizers":
           [{"type":"Sequence","normalizers":[]}]}]}]}}])",
       "too many Sequences in Sequences"},
      {"NormalizerField", "qwen", R"([{"op":"add","path":"/normalizer/strength","value":3}])",
       "'strength'"},
      {"PreTokenizerType", "qwen",
       R"([{"op":"replace","path":"/pre_tokenizer","value":{"type":"UnicodeScripts"}}])",
       "pre_tokenizer: the type 'UnicodeScripts' is not supported"},
      {"FixedLengthZero", "qwen",
       R"([{"op":"replace","path":"/pre_tokenizer","value":{"type":"FixedLength","length":0}}])",
       "'length': got 0"},
      {"DelimiterOfTwo", "qwen",
       R"([{"op":"replace","path":"/pre_tokenizer",
            "value":{"type":"CharDelimiterSplit","delimiter":"ab"}}])",
       "expected one character"},
      {"SplitBehavior", "qwen",
       R"([{"op":"replace","path":"/pre_tokenizer/pretokenizers/0/behavior","value":"Sideways"}])",
       "'Sideways'"},
      {"SplitEmptyString", "qwen",
       R"([{"op":"replace","path":"/pre_tokenizer/pretokenizers/0/pattern","value":{"String":""}}])",
       "string of 0 bytes"},
      {"RegexDamaged", "qwen",
       R"([{"op":"replace","path":"/pre_tokenizer/pretokenizers/0/pattern","value":{"Regex":"(a"}}])",
       "not closed"},
      {"MetaspaceMark", "metaspace_first",
       R"([{"op":"replace","path":"/pre_tokenizer/replacement","value":"__"}])",
       "expected one character"},
      {"MetaspaceScheme", "metaspace_first",
       R"([{"op":"replace","path":"/pre_tokenizer/prepend_scheme","value":"last"}])", "'last'"},
      {"MetaspaceContradiction", "metaspace_first",
       R"([{"op":"add","path":"/pre_tokenizer/add_prefix_space","value":false}])",
       "add_prefix_space is false"},
      {"PostProcessorType", "qwen",
       R"([{"op":"replace","path":"/post_processor","value":{"type":"AlbertProcessing"}}])",
       "post_processor: the type 'AlbertProcessing' is not supported"},
      {"PostProcessorTwice", "llama2",
       R"([{"op":"replace","path":"/post_processor","value":{"type":"Sequence","processors":[
            {"type":"BertProcessing","sep":["</s>",2],"cls":["<s>",1]},
            {"type":"BertProcessing","sep":["</s>",2],"cls":["<s>",1]}]}}])",
       "another step before it adds tokens"},
      {"PostProcessorNoPair", "llama2",
       R"([{"op":"replace","path":"/post_processor",
            "value":{"type":"BertProcessing","sep":"</s>","cls":["<s>",1]}}])",
       "sep: got \"</s>\", expected a token and its id"},
      {"TemplateUnknownToken", "llama2",
       R"([{"op":"replace","path":"/post_processor/single/0/SpecialToken/id","value":"<x>"}])",
       "'<x>' is missing"},
      {"TemplateUnknownId", "llama2",
       R"([{"op":"replace","path":"/post_processor/special_tokens/<s>/ids/0","value":99999}])",
       "no token has the id 99999"},
      {"TemplateWithoutText", "llama2", R"([{"op":"remove","path":"/post_processor/single/1"}])",
       "exactly once"},
      {"DecoderType", "qwen", R"([{"op":"replace","path":"/decoder","value":{"type":"Rot13"}}])",
       "decoder: the type 'Rot13' is not supported"},
      {"TopField", "qwen", R"([{"op":"add","path":"/extra","value":null}])", "'extra'"},
      {"NoModel", "qwen", R"([{"op":"remove","path":"/model"}])", "'model' is missing"},
      {"NoObject", "qwen", R"([{"op":"replace","path":"","value":[1]}])", "expected an object"},
  };
}

INSTANTIATE_TEST_SUITE_P(Files, Refused, testing::ValuesIn(refusals()),
                         [](const auto& param) { return std::string(param.param.what); });

TEST(Tokenizer, CharacterWithoutTokenIsAnError) {
  json file = fixture("splits");
  file["model"]["unk_token"] = nullptr;
  const Tokenizer tokenizer = Tokenizer::from_json(file, "tokenizer.json");
  try {
    tokenizer.encode("ok \U0001F600", true);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("U+1F600"), std::string::npos) << error.what();
  }
}

// Forty steps that each double the text.
TEST(Tokenizer, ReplacementsThatExplodeAreAnError) {
  json bomb = json::array();
  for (int i = 0; i < 40; ++i)
    bomb.push_back({{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}});
  json file = fixture("splits");
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", bomb}};
  EXPECT_THROW(Tokenizer::from_json(file, "t").encode("banana", true), Error);
  file = fixture("splits");
  file["decoder"] = {{"type", "Sequence"}, {"decoders", bomb}};
  const Tokenizer tokenizer = Tokenizer::from_json(file, "t");
  const auto a = tokenizer.id_of("a");
  ASSERT_TRUE(a);
  EXPECT_THROW(tokenizer.decode(std::vector<int32_t>(3, *a), true), Error);
}

// An unk_token that the vocabulary lacks is no loss to a text that does not need it.
TEST(Tokenizer, UnkOutsideOfTheVocabulary) {
  json file = fixture("splits");
  file["model"]["unk_token"] = "<no>";
  const Tokenizer tokenizer = Tokenizer::from_json(file, "tokenizer.json");
  EXPECT_FALSE(tokenizer.encode("the", true).ids.empty());
  EXPECT_THROW(tokenizer.encode("the \U0001F600", true), Error);
}

// `tokenizers` has no Append; Nibble's stands for the last character, as NormalizedString.append.
TEST(Tokenizer, Append) {
  json file = fixture("splits");
  file["normalizer"] = {{"type", "Append"}, {"append", " the"}};
  file["pre_tokenizer"] = nullptr;
  const Tokenizer tokenizer = Tokenizer::from_json(file, "tokenizer.json");
  const Encoding got = tokenizer.encode("of", true);
  file["normalizer"] = nullptr;
  EXPECT_EQ(got.ids, Tokenizer::from_json(file, "tokenizer.json").encode("of the", true).ids);
  EXPECT_EQ(got.offsets.back(), (std::pair<uint32_t, uint32_t>{1, 2}));
}

// What a Replace of nothing puts at the start of a text stands nowhere; `tokenizers` panics there.
TEST(Tokenizer, TextThatBeginsNowhereIsAnError) {
  json file = fixture("gpt2");
  file["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Regex", "^"}}}, {"content", "x"}};
  EXPECT_THROW(Tokenizer::from_json(file, "t").encode("the", true), Error);
}

TEST(Tokenizer, LongRunsOfOneCharacter) {
  for (const char* kind : {"gpt2", "llama3", "qwen", "phi4", "llama2", "splits"}) {
    json file = fixture(kind);
    for (const char* form : {"NFC", "NFKD"}) {
      file["normalizer"] = {{"type", form}};
      const Tokenizer tokenizer = Tokenizer::from_json(file, kind);
      for (const char* part : {"a", " ", "\n", "\u0301", "\u0301\u0327", "\uFDFA", "9", "."}) {
        std::string text;
        while (text.size() < 100000) text += part;
        EXPECT_NO_THROW(tokenizer.encode(text + "!", false)) << kind << ' ' << part;
      }
    }
  }
}

TEST(Tokenizer, CatastrophicRegexIsAnErrorNotAHang) {
  for (const char* pattern : {"(a+)+$", "(a|a)*b", "(a*)*b", "a+b|c", "(?=a*b)|a(?=a*b)", "a++b",
                              "(?>a*)b", "(?:a?){50}b", "(?<!b)a*?b", "(a|aa)+$"}) {
    json file = fixture("qwen");
    file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = pattern;
    const Tokenizer tokenizer = Tokenizer::from_json(file, "tokenizer.json");
    const std::string text = std::string(100000, 'a') + "!";
    try {
      tokenizer.encode(text, true);
      ADD_FAILURE() << pattern << " accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::bad_input);
      EXPECT_NE(std::string(error.what()).find("gave up at byte "), std::string::npos)
          << error.what();
    }
  }
}

}  // namespace
}  // namespace nibble
