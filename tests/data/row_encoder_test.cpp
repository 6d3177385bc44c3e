// Ids and labels of rows: conversations against transformers' own assistant masks
// (tools/make_label_goldens.py), and the rules of labels, ends and truncation.
#include "data/row_encoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "files/json.h"
#include "support/data.h"

namespace nibble::test {
namespace {

using Json = nlohmann::ordered_json;

constexpr int32_t bos = 0, eos = 1;

const Json& goldens() {
  static const Json json = Json::parse(read_file(golden("data/labels.json")));
  return json;
}

// The demo's tokenizer with the control tokens of the goldens.
const Tokenizer& tokenizer() {
  static const Tokenizer made = [] {
    auto json = nlohmann::json::parse(
        read_file(std::filesystem::path(NIBBLE_SOURCE_DIR) / "demo/model/tokenizer.json"));
    int32_t id = 1920;
    for (const auto& token : goldens()["tokens"])
      json["added_tokens"].push_back({{"id", id++},
                                      {"content", token.get<std::string>()},
                                      {"single_word", false},
                                      {"lstrip", false},
                                      {"rstrip", false},
                                      {"normalized", false},
                                      {"special", true}});
    return Tokenizer::from_json(json, "tokenizer.json");
  }();
  return made;
}

SpecialTokens special_tokens(std::vector<int32_t> stops = {eos}) {
  SpecialTokens special;
  special.bos = {"<|begin_of_text|>", bos};
  special.eos = {"<|end_of_text|>", eos};
  special.stop_ids = std::move(stops);
  return special;
}

ChatFormat format_of(const std::string& source) {
  return {ChatTemplate::parse(source, "template"),
          std::nullopt,
          {{"bos_token", "<|begin_of_text|>"}, {"eos_token", "<|end_of_text|>"}},
          "sha",
          0,
          {}};
}

ChatFormat known_format(const std::string& name) {
  return format_of(goldens()["templates"][name].get<std::string>());
}

Example conversation(const Json& messages) {
  Example example;
  example.kind = Example::Kind::conversation;
  example.messages = messages;
  return example;
}

Json talk(std::vector<std::string> turns) {
  Json messages = Json::array();
  for (size_t i = 0; i < turns.size(); ++i)
    messages.push_back({{"role", i % 2 == 0 ? "user" : "assistant"}, {"content", turns[i]}});
  return messages;
}

EncodedRow encode(const ChatFormat& format, const Example& example,
                  const EncodeOptions& options = {},
                  const SpecialTokens& special = special_tokens()) {
  return RowEncoder(tokenizer(), special, &format, 1940, options).encode(example);
}

EncodedRow encode_text(const Example& example, const EncodeOptions& options = {}) {
  return RowEncoder(tokenizer(), special_tokens(), nullptr, 1940, options).encode(example);
}

std::string trained_text(const Document& document) {
  std::vector<int32_t> ids;
  for (const int32_t label : document.labels)
    if (label >= 0) ids.push_back(label);
  return tokenizer().decode(ids, false);
}

int64_t count_of(const EncodedRow& row, Guard guard) {
  return std::ranges::count(row.findings, guard, &Finding::guard);
}

TEST(RowEncoder, ConversationsAreLabelledAsTransformersMasksThem) {
  int64_t equal = 0, edges = 0;
  for (const Json& c : goldens()["cases"]) {
    const std::string name = c["template"];
    SCOPED_TRACE(name + " " + c["messages"].dump());
    const EncodedRow row = encode(known_format(name), conversation(c["messages"]));
    ASSERT_EQ(row.documents.size(), 1u);
    const Document& document = row.documents[0];
    EXPECT_EQ(document.ids, c["ids"].get<std::vector<int32_t>>());
    const auto mask = c["mask"].get<std::vector<int>>();
    ASSERT_EQ(document.labels.size(), mask.size());
    // A token on the edge is trained there and not here, and is counted.
    int64_t differ = 0;
    for (size_t i = 0; i < mask.size(); ++i) {
      EXPECT_TRUE(document.labels[i] == -100 || document.labels[i] == document.ids[i]);
      const bool trained = document.labels[i] >= 0;
      EXPECT_LE(trained, mask[i] == 1) << i;
      differ += trained != (mask[i] == 1) ? 1 : 0;
    }
    EXPECT_EQ(differ > 0, count_of(row, Guard::straddling_token) > 0);
    edges += differ;
    equal += differ == 0 ? 1 : 0;
  }
  std::printf("%lld of %zu cases equal; %lld tokens on an edge\n", static_cast<long long>(equal),
              goldens()["cases"].size(), static_cast<long long>(edges));
  EXPECT_GE(equal, 30);
}

TEST(RowEncoder, EveryTurnEndsInATrainedEnd) {
  // The last turn ends in two: <|end|> and <|end_of_text|>.
  const EncodedRow row = encode(known_format("two_ends"), conversation(talk({"a", "b", "c", "d"})),
                                {}, special_tokens({1928, eos}));
  ASSERT_EQ(row.documents.size(), 1u);
  EXPECT_EQ(trained_text(row.documents[0]), "b<|end|>d<|end|><|end_of_text|>");
  EXPECT_TRUE(row.findings.empty());
}

TEST(RowEncoder, AnEndThatStopsNothingIsFound) {
  const EncodedRow row = encode(known_format("chatml"), conversation(talk({"a", "b"})));
  EXPECT_EQ(count_of(row, Guard::end_not_a_stop), 1);
  EXPECT_EQ(count_of(row, Guard::end_not_trained), 0);
}

TEST(RowEncoder, WhichEndsAreTrained) {
  const std::map<TrainOnEos, std::string> expected = {
      {TrainOnEos::turn, "b<|im_end|>d<|im_end|>"},
      {TrainOnEos::last, "bd<|im_end|>"},
      {TrainOnEos::none, "bd"},
      {TrainOnEos::all, "<|im_end|>b<|im_end|><|im_end|>d<|im_end|>"}};
  for (const auto& [choice, text] : expected) {
    EncodeOptions options;
    options.turns.train_on_eos = choice;
    const EncodedRow row = encode(known_format("chatml"), conversation(talk({"a", "b", "c", "d"})),
                                  options, special_tokens({1921}));
    EXPECT_EQ(trained_text(row.documents.at(0)), text);
  }
}

TEST(RowEncoder, WhichTurnsAreTrained) {
  const ChatFormat format = known_format("chatml");
  Example example = conversation(talk({"a", "b", "c", "d"}));
  EncodeOptions options;
  options.turns.mask_history = true;
  EXPECT_EQ(trained_text(encode(format, example, options).documents.at(0)), "d<|im_end|>");
  options.turns = {};
  options.turns.assistant_only_loss = false;
  const Document everything = encode(format, example, options).documents.at(0);
  EXPECT_EQ(everything.labels, everything.ids);
  example.train = {std::nullopt, false, true, std::nullopt};  // the row's own word
  EXPECT_EQ(trained_text(encode(format, example).documents.at(0)), "c<|im_end|>d<|im_end|>");
  example.train = {};
  example.prompt_messages = 2;
  EXPECT_EQ(trained_text(encode(format, example).documents.at(0)), "d<|im_end|>");
}

// The template drops what stands before "|" of all but the last turn, as Qwen3 drops old reasoning.
TEST(RowEncoder, ATurnThatLaterOnesRewriteIsTrainedAsItWasWritten) {
  const ChatFormat format = format_of(
      "{% for m in messages %}{{ '<|' + m.role + '|>' }}"
      "{{ m.content if loop.last else m.content.split('|')[-1] }}<|end|>{% endfor %}"
      "{% if add_generation_prompt %}<|assistant|>{% endif %}");
  const EncodedRow row =
      encode(format, conversation(talk({"q", "x|a", "r", "y|b"})), {}, special_tokens({1928}));
  EXPECT_EQ(count_of(row, Guard::history_rewritten), 1);
  ASSERT_EQ(row.documents.size(), 2u);
  EXPECT_EQ(tokenizer().decode(row.documents[0].ids, false),
            "<|user|>q<|end|><|assistant|>a<|end|><|user|>r<|end|><|assistant|>y|b<|end|>");
  EXPECT_EQ(trained_text(row.documents[0]), "y|b<|end|>");
  EXPECT_EQ(tokenizer().decode(row.documents[1].ids, false),
            "<|user|>q<|end|><|assistant|>x|a<|end|>");
  EXPECT_EQ(trained_text(row.documents[1]), "x|a<|end|>");
}

TEST(RowEncoder, WhatTheGenerationPromptSuppliesIsUntrained) {
  const ChatFormat format = format_of(
      "{% for m in messages %}{{ '<|' + m.role + '|>' }}"
      "{% if m.role == 'assistant' %}<think></think>{% endif %}{{ m.content }}<|end|>{% endfor %}"
      "{% if add_generation_prompt %}<|assistant|><think></think>{% endif %}");
  const EncodedRow row = encode(format, conversation(talk({"q", "a"})), {}, special_tokens({1928}));
  EXPECT_EQ(trained_text(row.documents.at(0)), "a<|end|>");
}

TEST(RowEncoder, ControlTokensInContentAreText) {
  const ChatFormat format = known_format("chatml");
  const Example example = conversation(talk({"x<|im_end|>y", "b"}));
  const EncodedRow row = encode(format, example, {}, special_tokens({1921}));
  EXPECT_EQ(count_of(row, Guard::special_in_content), 1);
  EXPECT_EQ(std::ranges::count(row.documents.at(0).ids, 1921), 2);  // the template's two
  EncodeOptions options;
  options.split_special_tokens = false;
  const EncodedRow tokens = encode(format, example, options, special_tokens({1921}));
  EXPECT_EQ(count_of(tokens, Guard::special_in_content), 0);
  EXPECT_EQ(std::ranges::count(tokens.documents.at(0).ids, 1921), 3);
}

TEST(RowEncoder, DroppedFieldsAreFound) {
  const ChatFormat format = known_format("chatml");
  Json messages = talk({"a", "b"});
  messages[1]["reasoning_content"] = "because";
  EXPECT_EQ(count_of(encode(format, conversation(messages)), Guard::dropped_field), 1);
  messages[1].erase("reasoning_content");
  messages[1]["tool_calls"] = {
      {{"function", {{"name", "look"}, {"arguments", {{"where", "sea"}, {"far", 3}}}}}}};
  EXPECT_GE(count_of(encode(format, conversation(messages)), Guard::dropped_field), 1);
  const ChatFormat calls = format_of(
      "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}"
      "{{ c.function | tojson }}{% endfor %}{{ eos_token }}{% endfor %}");
  const EncodedRow row = encode(calls, conversation(messages));
  EXPECT_EQ(count_of(row, Guard::dropped_field), 0);
  EXPECT_EQ(
      trained_text(row.documents.at(0)),
      "b{\"name\": \"look\", \"arguments\": {\"where\": \"sea\", \"far\": 3}}<|end_of_text|>");
}

// A template reads reasoning_content or thinking, data has one of three names: it is trained, and
// nothing is dropped.
TEST(RowEncoder, ReasoningIsTrainedWhateverItsName) {
  for (const char* read : {"reasoning_content", "thinking"}) {
    const ChatFormat format = format_of(
        fmt::format("{{% for m in messages %}}{{{{ m.content }}}}{{% if m.{0} %}}<{{{{ m.{0} }}}}>"
                    "{{% endif %}}{{{{ eos_token }}}}{{% endfor %}}",
                    read));
    for (const char* given : {"reasoning_content", "thinking", "reasoning"}) {
      Json messages = talk({"a", "b"});
      messages[1][given] = "because";
      const EncodedRow row = encode(format, conversation(messages));
      EXPECT_EQ(count_of(row, Guard::dropped_field), 0) << read << " " << given;
      EXPECT_EQ(trained_text(row.documents.at(0)), "b<because><|end_of_text|>");
    }
  }
}

TEST(RowEncoder, TextEndsInEosAndPromptsAreUntrained) {
  Example text;
  text.text = "the tide";
  const Document whole = encode_text(text).documents.at(0);
  EXPECT_EQ(whole.ids.front(), bos);
  EXPECT_EQ(whole.ids.back(), eos);
  EXPECT_EQ(whole.labels, whole.ids);
  Example pair;
  pair.kind = Example::Kind::prompt_completion;
  pair.text = "Who?";
  pair.completion = " Ines.";
  EXPECT_EQ(trained_text(encode_text(pair).documents.at(0)), " Ines.<|end_of_text|>");
  EncodeOptions all;
  all.completion_only_loss = false;
  const Document both = encode_text(pair, all).documents.at(0);
  EXPECT_EQ(both.labels, both.ids);
  text.text = "<|begin_of_text|>the tide";
  EXPECT_EQ(count_of(encode_text(text), Guard::double_bos), 1);
}

TEST(RowEncoder, TokenizedRowsAreTakenAsTheyAre) {
  Example example;
  example.kind = Example::Kind::tokenized;
  example.ids = {5, 6, 7};
  example.labels = {-100, 6, -100};
  const Document document = encode_text(example).documents.at(0);
  EXPECT_EQ(document.ids, example.ids);
  EXPECT_EQ(document.labels, example.labels);
  example.ids[1] = 1940;
  EXPECT_THROW(encode_text(example), Error);
}

TEST(RowEncoder, Truncation) {
  Example example;
  example.kind = Example::Kind::tokenized;
  for (int32_t i = 0; i < 10; ++i) {
    example.ids.push_back(100 + i);
    example.labels.push_back(i < 3 ? -100 : 100 + i);
  }
  EncodeOptions options;
  options.max_length = 4;
  const auto lengths = [&](TruncationMode mode) {
    options.truncation_mode = mode;
    std::vector<std::pair<int32_t, size_t>> result;  // first id, length
    for (const Document& document : encode_text(example, options).documents)
      result.emplace_back(document.ids.front(), document.ids.size());
    return result;
  };
  using Pieces = std::vector<std::pair<int32_t, size_t>>;
  EXPECT_EQ(lengths(TruncationMode::refuse), (Pieces{{100, 4}}));
  EXPECT_EQ(lengths(TruncationMode::keep_start), (Pieces{{100, 4}}));
  EXPECT_EQ(lengths(TruncationMode::keep_end), (Pieces{{106, 4}}));
  EXPECT_EQ(lengths(TruncationMode::drop), Pieces{});
  EXPECT_EQ(lengths(TruncationMode::split), (Pieces{{100, 4}, {104, 4}, {108, 2}}));
  options.truncation_mode = TruncationMode::refuse;
  EXPECT_EQ(count_of(encode_text(example, options), Guard::answer_cut), 1);
  options.truncation_mode = TruncationMode::keep_start;
  EXPECT_EQ(count_of(encode_text(example, options), Guard::answer_cut), 0);
  EXPECT_EQ(encode_text(example, options).cut_tokens, 6);
}

TEST(RowEncoder, AConversationNeedsATemplate) {
  EXPECT_THROW(encode_text(conversation(talk({"a", "b"}))), Error);
}

}  // namespace
}  // namespace nibble::test
