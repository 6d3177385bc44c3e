#include "text/special_tokens.h"

#include "core/error.h"
#include "text/golden_strings.h"

namespace nibble {
namespace {

using nlohmann::json;

Tokenizer tokenizer() {
  return Tokenizer::from_json(test::read_json(test::golden("text/phi4.tokenizer.json")), "phi4");
}

TEST(SpecialTokens, TextsFromTokenizerConfigStopIdsFromGenerationConfig) {
  const Tokenizer t = tokenizer();
  const json config = {{"bos_token", "<|endoftext|>"},
                       {"eos_token", {{"__type", "AddedToken"}, {"content", "<|end|>"}}},
                       {"pad_token", nullptr}};
  const json generation = {{"eos_token_id", {2, 0}}, {"pad_token_id", 1}, {"bos_token_id", 0}};
  const json model = {{"eos_token_id", 1}};
  const SpecialTokens special = read_special_tokens(t, &config, &generation, &model);
  EXPECT_EQ(special.bos->id, 0);
  EXPECT_EQ(special.bos->text, "<|endoftext|>");
  EXPECT_EQ(special.eos->id, 2);
  EXPECT_EQ(special.eos->text, "<|end|>");
  EXPECT_EQ(special.pad->text, "<|assistant|>");  // null in tokenizer_config: by id
  EXPECT_FALSE(special.unk);
  EXPECT_EQ(special.stop_ids, (std::vector<int32_t>{2, 0}));
  // Without a generation_config: config.json's; without that: eos itself; without anything: none.
  EXPECT_EQ(read_special_tokens(t, &config, nullptr, &model).stop_ids, std::vector<int32_t>{1});
  EXPECT_EQ(read_special_tokens(t, &config, nullptr, nullptr).stop_ids, std::vector<int32_t>{2});
  EXPECT_TRUE(read_special_tokens(t, nullptr, nullptr, nullptr).stop_ids.empty());
  EXPECT_FALSE(read_special_tokens(t, nullptr, nullptr, nullptr).eos);
}

TEST(SpecialTokens, RefusesByName) {
  const Tokenizer t = tokenizer();
  const auto refused = [&](const json& tokenizer_config, const json& generation) {
    try {
      read_special_tokens(t, &tokenizer_config, &generation, nullptr);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::bad_input);
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  const json none = json::object();
  EXPECT_NE(refused({{"eos_token", "<none>"}}, none).find("'<none>' is not in"), std::string::npos);
  EXPECT_NE(refused({{"eos_token", 3}}, none).find("eos_token: expected a string"),
            std::string::npos);
  EXPECT_NE(refused(none, {{"eos_token_id", -1}}).find("got -1"), std::string::npos);
  EXPECT_NE(refused(none, {{"eos_token_id", {1, "2"}}}).find("got \"2\""), std::string::npos);
  EXPECT_NE(refused(none, {{"eos_token_id", 2147483648}}).find("2147483648"), std::string::npos);
  EXPECT_NE(refused(json::array(), none).find("expected an object"), std::string::npos);
}

TEST(SpecialTokens, Phi4Mini) {
  NIBBLE_NEEDS_SHARED_DATA();
  const auto folder = test::shared_data() / "models" / "Phi-4-mini-instruct";
  const Tokenizer t = Tokenizer::from_json(test::read_json(folder / "tokenizer.json"), "phi-4");
  const json tokenizer_config = test::read_json(folder / "tokenizer_config.json");
  const json generation = test::read_json(folder / "generation_config.json");
  const json config = test::read_json(folder / "config.json");
  const SpecialTokens special = read_special_tokens(t, &tokenizer_config, &generation, &config);
  EXPECT_EQ(special.eos->id, 199999);
  EXPECT_EQ(special.stop_ids, (std::vector<int32_t>{200020, 199999}));
}

}  // namespace
}  // namespace nibble
