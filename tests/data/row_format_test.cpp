// Rows of every form that Nibble knows, as examples; rows that are not quite of one, refused by
// field; and the forms of real datasets.
#include "data/row_format.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "core/error.h"
#include "data/row_reader.h"
#include "files/json.h"
#include "support/data.h"
#include "text/tokenizer.h"

namespace nibble::test {
namespace {

using Json = nlohmann::ordered_json;
using Kind = Example::Kind;

Json json(const std::string& text) { return parse_ordered_json(text, "test"); }

Example example(const std::string& row, const RowFormatOptions& options = {}) {
  return to_example(json(row), recognize_format(json(row), options), options);
}

RowFormatOptions without_template() {
  RowFormatOptions options;
  options.chat_template = false;
  return options;
}

std::string refusal(const std::string& row, const RowFormatOptions& options = {}) {
  try {
    example(row, options);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::bad_input);
    return error.what();
  }
  return "(accepted)";
}

TEST(RowFormat, IsRecognizedByFields) {
  const std::vector<std::pair<const char*, RowFormat>> rows = {
      {R"({"text":"a"})", RowFormat::text},
      {R"({"id":1,"text":"a","meta":{}})", RowFormat::text},
      {R"({"prompt":"a","completion":"b"})", RowFormat::prompt_completion},
      {R"({"prompt":[],"completion":[]})", RowFormat::prompt_completion},
      {R"({"instruction":"a","input":"","output":"b"})", RowFormat::alpaca},
      {R"({"instruction":"a","output":"b","text":"the whole"})", RowFormat::alpaca},
      {R"({"question":"a","answer":"b"})", RowFormat::question_answer},
      {R"({"conversations":[]})", RowFormat::sharegpt},
      {R"({"messages":[]})", RowFormat::messages},
      {R"({"prompt":"a","messages":[],"tools":null})", RowFormat::messages},
      {R"({"messages":[],"conversations":null,"text":null})", RowFormat::messages},
      {R"({"input_ids":[]})", RowFormat::tokenized},
  };
  for (const auto& [row, format] : rows) EXPECT_EQ(recognize_format(json(row), {}), format) << row;
}

TEST(RowFormat, WhatIsNoneOrSeveralIsRefused) {
  EXPECT_NE(refusal(R"({"content":"a","id":1})").find("the fields (content, id)"),
            std::string::npos);
  EXPECT_NE(refusal("{}").find("the fields ()"), std::string::npos);
  EXPECT_NE(refusal(R"({"prompt":"a"})").find("(prompt)"), std::string::npos);
  EXPECT_NE(refusal(R"({"completion":"a"})").find("(completion)"), std::string::npos);
  EXPECT_NE(refusal(R"({"text":null})").find("(text)"), std::string::npos);
  EXPECT_NE(refusal(R"({"chosen":"a","rejected":"b"})").find("preferences"), std::string::npos);
  const std::string both = refusal(R"({"text":"a","messages":[{"role":"user","content":"b"}]})");
  EXPECT_NE(both.find("messages and text at once; choose with dataset_format"), std::string::npos)
      << both;
  EXPECT_NE(refusal(R"({"text":"a","prompt":"b","completion":"c"})").find("at once"),
            std::string::npos);
  for (const char* row : {"[1]", "\"a\"", "5", "null", "true"})
    EXPECT_NE(refusal(row).find("expected an object"), std::string::npos) << row;
  std::string many = "{\"a\":1";
  for (int i = 0; i < 10000; ++i) many += ",\"field" + std::to_string(i) + "\":1";
  EXPECT_LT(refusal(many + "}").size(), 700u);
}

TEST(RowFormat, CanBeChosen) {
  RowFormatOptions options;
  options.format = parse_row_format("text");
  EXPECT_EQ(example(R"({"text":"a","messages":[]})", options).text, "a");
  options.text_field = "body";
  EXPECT_EQ(example(R"({"text":"a","body":"b"})", options).text, "b");
  EXPECT_EQ(refusal(R"({"text":"a"})", options), "body: the field is missing, expected a string");
  options.format = RowFormat::automatic;
  EXPECT_EQ(recognize_format(json(R"({"body":"b"})"), options), RowFormat::text);
  options.messages_field = "dialog";
  const Example dialog = example(R"({"dialog":[{"from":"human","value":"b"}]})", options);
  EXPECT_EQ(dialog.messages, json(R"([{"role":"user","content":"b"}])"));
  EXPECT_THROW(parse_row_format("parquet"), Error);
  for (const char* name : {"auto", "text", "prompt_completion", "alpaca", "question_answer",
                           "sharegpt", "messages", "tokenized"})
    EXPECT_EQ(row_format_name(parse_row_format(name)), name);
}

TEST(RowFormat, Text) {
  const Example e = example(R"({"text":"a\u0000b"})");
  EXPECT_EQ(e.kind, Kind::text);
  EXPECT_EQ(e.text, std::string("a\0b", 3));
  EXPECT_EQ(refusal(R"({"text":""})"), "text: the row has no text");
  EXPECT_EQ(refusal(R"({"text":5})"), "text: got 5, expected a string");
  EXPECT_EQ(refusal(R"({"text":["a"]})"), "text: got an array of 1, expected a string");
}

TEST(RowFormat, PromptAndCompletion) {
  const Example strings = example(R"({"prompt":"a","completion":"b"})");
  EXPECT_EQ(strings.kind, Kind::prompt_completion);
  EXPECT_EQ(strings.text + "|" + strings.completion, "a|b");
  const Example lists =
      example(R"({"prompt":[{"role":"system","content":"s"},{"role":"user","content":"a"}],)"
              R"("completion":[{"role":"assistant","content":"b"}]})");
  EXPECT_EQ(lists.kind, Kind::conversation);
  EXPECT_EQ(lists.prompt_messages, 2u);
  EXPECT_EQ(lists.messages.size(), 3u);
  EXPECT_TRUE(lists.train.empty());
  EXPECT_EQ(refusal(R"({"prompt":5,"completion":"b"})"), "prompt: got 5, expected a string");
  EXPECT_EQ(refusal(R"({"prompt":"a","completion":[{"role":"assistant","content":"b"}]})"),
            "prompt: got \"a\", expected a list of messages");
  EXPECT_EQ(refusal(R"({"prompt":[{"role":"user","content":"b"}],"completion":"b"})"),
            "completion: got \"b\", expected a list of messages");
  EXPECT_EQ(refusal(R"({"prompt":[],"completion":[{"role":"assistant","content":"b"}]})"),
            "prompt: the list of messages is empty");
}

TEST(RowFormat, AlpacaAsAConversation) {
  EXPECT_EQ(
      example(R"({"instruction":"Add.","input":"1 and 2","output":"3"})").messages,
      json(R"([{"role":"user","content":"Add.\n\n1 and 2"},{"role":"assistant","content":"3"}])"));
  EXPECT_EQ(
      example(R"({"instruction":"c","input":"","output":"d","system":"s","history":[["a","b"]]})")
          .messages,
      json(R"([{"role":"system","content":"s"},{"role":"user","content":"a"},
               {"role":"assistant","content":"b"},{"role":"user","content":"c"},
               {"role":"assistant","content":"d"}])"));
  EXPECT_EQ(example(R"({"question":"a","answer":"b"})").messages,
            json(R"([{"role":"user","content":"a"},{"role":"assistant","content":"b"}])"));
  EXPECT_EQ(refusal(R"({"instruction":"a","input":7,"output":"b"})"),
            "input: got 7, expected a string");
  EXPECT_EQ(refusal(R"({"instruction":"a","output":"b","history":[["a"]]})"),
            "history[0]: got an array of 1, expected a pair of two strings");
  EXPECT_EQ(refusal(R"({"instruction":{},"output":"b"})"),
            "instruction: got an object, expected a string");
}

// The rendered text of Stanford's own rows says what prompt and output must make together.
TEST(RowFormat, AlpacaPromptIsStanfords) {
  NIBBLE_NEEDS_SHARED_DATA();
  const Json rows = json(read_file(shared_data() / "datasets" / "alpaca" / "alpaca_tiny.json"));
  int with_input = 0;
  for (const Json& row : rows) {
    const Example e = to_example(row, RowFormat::alpaca, without_template());
    EXPECT_EQ(e.kind, Kind::prompt_completion);
    EXPECT_EQ(e.text + e.completion, row["text"].get<std::string>());
    with_input += row["input"] != "" ? 1 : 0;
  }
  EXPECT_EQ(rows.size(), 100u);
  EXPECT_EQ(with_input, 46);
}

TEST(RowFormat, AlpacaPromptHasNoPlaceForHistory) {
  EXPECT_NE(refusal(R"({"instruction":"a","output":"b","system":"s"})", without_template())
                .find("system: needs a model with a chat template"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"instruction":"a","output":"b","history":[["a","b"]]})", without_template())
                .find("history: needs"),
            std::string::npos);
  const Example question = example(R"({"question":"a{}","answer":"b"})", without_template());
  EXPECT_TRUE(question.text.ends_with("### Instruction:\na{}\n\n### Response:\n"));
}

TEST(RowFormat, ShareGptSpeakers) {
  const std::map<std::string, std::string> speakers = {
      {"human", "user"},        {"user", "user"},           {"gpt", "assistant"},
      {"chatgpt", "assistant"}, {"bing", "assistant"},      {"bard", "assistant"},
      {"model", "assistant"},   {"assistant", "assistant"}, {"system", "system"},
      {"tool", "tool"},         {"observation", "tool"},    {"function_response", "tool"}};
  for (const auto& [from, role] : speakers)
    for (const char* content : {"value", "content"}) {
      const Json row = {{"conversations", {{{"from", from}, {content, "x"}}}}};
      EXPECT_EQ(example(row.dump()).messages, Json({{{"role", role}, {"content", "x"}}})) << row;
    }
  EXPECT_EQ(example(R"({"conversations":[{"role":"user","content":"x"}]})").messages,
            json(R"([{"role":"user","content":"x"}])"));
  for (const char* from : {"Human", "GPT", "narrator", ""})
    EXPECT_NE(refusal(Json({{"conversations", {{{"from", from}, {"value", "x"}}}}}).dump())
                  .find("conversations[0].from: got \""),
              std::string::npos);
}

TEST(RowFormat, ShareGptFunctionCalls) {
  const Example e = example(
      R"({"conversations":[{"from":"human","value":"a"},)"
      R"({"from":"function_call","value":"{\"name\":\"f\",\"arguments\":{\"z\":1,\"a\":2}}"},)"
      R"({"from":"observation","value":"[5]"},{"from":"gpt","value":"b"}],)"
      R"("system":"s","tools":"[{\"name\":\"f\",\"parameters\":{}}]"})");
  EXPECT_EQ(e.messages.dump(),
            R"([{"role":"system","content":"s"},{"role":"user","content":"a"},)"
            R"({"role":"assistant","content":"","tool_calls":[{"type":"function",)"
            R"("function":{"name":"f","arguments":{"z":1,"a":2}}}]},)"
            R"({"role":"tool","content":"[5]"},{"role":"assistant","content":"b"}])");
  EXPECT_EQ(e.tools.dump(), R"([{"type":"function","function":{"name":"f","parameters":{}}}])");
  const auto call = [](const std::string& value) {
    return Json({{"conversations", {{{"from", "function_call"}, {"value", value}}}}}).dump();
  };
  EXPECT_EQ(example(call(R"([{"name":"f","arguments":{}},{"name":"g","arguments":"{}"}])"))
                .messages[0]["tool_calls"]
                .size(),
            2u);
  EXPECT_NE(refusal(call("f(1)")).find("conversations[0].value: got \"f(1)\", expected JSON text"),
            std::string::npos);
  EXPECT_NE(refusal(call("5")).find("conversations[0].value[0]: got 5, expected an object"),
            std::string::npos);
  EXPECT_NE(refusal(call(R"({"arguments":{}})")).find("value[0].name: the field is missing"),
            std::string::npos);
}

TEST(RowFormat, ToolCallsStayAsTheyAre) {
  const std::string messages =
      R"([{"role":"user","content":"a","name":"Ann"},)"
      R"({"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function",)"
      R"("function":{"name":"f","arguments":"{\"x\": 1}"}}],"reasoning_content":"r"},)"
      R"({"role":"tool","tool_call_id":"1","content":"2"},)"
      R"({"role":"assistant","tool_calls":[{"name":"g","arguments":{"x":[1]}}]}])";
  const Example e = example("{\"messages\":" + messages +
                            ",\"tools\":" + R"([{"type":"function","function":{"name":"f"}}]})");
  EXPECT_EQ(e.messages.dump(), json(messages).dump());
  EXPECT_EQ(e.tools.dump(), R"([{"type":"function","function":{"name":"f"}}])");
}

TEST(RowFormat, NullFieldsAreLeftOut) {
  EXPECT_EQ(example(R"({"messages":[{"role":"user","content":"a","tool_calls":null,"name":null}],)"
                    R"("tools":null})")
                .messages.dump(),
            R"([{"role":"user","content":"a"}])");
  for (const char* tools : {"null", "[]", "\"\"", "\"[]\""})
    EXPECT_TRUE(example(R"({"messages":[{"role":"user","content":"a"}],"tools":)" +
                        std::string(tools) + "}")
                    .tools.is_null())
        << tools;
}

TEST(RowFormat, TextPartsBecomeOneText) {
  EXPECT_EQ(example(R"({"messages":[{"role":"user","content":[{"type":"text","text":"a"},)"
                    R"({"type":"text","value":"b"}]}]})")
                .messages[0]["content"],
            "ab");
}

TEST(RowFormat, WhatMessagesSayOfTraining) {
  const auto train = [](const std::string& fields) {
    const Example e = example(R"({"messages":[{"role":"user","content":"a"},)"
                              R"({"role":"assistant","content":"b",)" +
                              fields + "}]}");
    EXPECT_EQ(e.messages[1].size(), 2u);
    EXPECT_EQ(e.train.size(), 2u);
    EXPECT_EQ(e.train.at(0), std::nullopt);
    return e.train.at(1);
  };
  EXPECT_EQ(train(R"("train":true)"), true);
  EXPECT_EQ(train(R"("train":false)"), false);
  EXPECT_EQ(train(R"("weight":0)"), false);
  EXPECT_EQ(train(R"("weight":1)"), true);
  EXPECT_EQ(train(R"("loss_weight":0.0)"), false);
  EXPECT_EQ(train(R"("loss_weight":1.0)"), true);
  EXPECT_NE(refusal(R"({"messages":[{"role":"user","content":"a","weight":0.5}]})")
                .find("messages[0].weight: got 0.5, expected true, false, 0 or 1"),
            std::string::npos);
  EXPECT_TRUE(example(R"({"messages":[{"role":"user","content":"a"}]})").train.empty());
}

struct BadRow {
  const char* row;
  const char* message;
};

TEST(RowFormat, HostileMessagesAreRefusedByField) {
  const std::string m = R"({"messages":[{"role":"user","content":"a"},)";
  const auto second = [&](const std::string& message) { return m + message + "]}"; };
  EXPECT_EQ(refusal(R"({"messages":"hello"})"),
            "messages: got \"hello\", expected a list of messages");
  EXPECT_EQ(refusal(R"({"messages":{"role":"user"}})"),
            "messages: got an object, expected a list of messages");
  EXPECT_EQ(refusal(R"({"messages":[]})"), "messages: the list of messages is empty");
  EXPECT_EQ(refusal(second("5")), "messages[1]: got 5, expected an object with role and content");
  EXPECT_EQ(refusal(second("[]")),
            "messages[1]: got an array of 0, expected an object with role and content");
  EXPECT_EQ(refusal(second(R"({"content":"b"})")),
            "messages[1].role: the field is missing, expected a string");
  EXPECT_EQ(refusal(second(R"({"role":5,"content":"b"})")),
            "messages[1].role: got 5, expected a string");
  EXPECT_EQ(refusal(second(R"({"role":null,"content":"b"})")),
            "messages[1].role: got null, expected a string");
  for (const char* role : {"Assistant", "asistant", "ASSISTANT", "gpt", "human", "", " user"})
    EXPECT_TRUE(refusal(second(R"({"role":")" + std::string(role) + R"(","content":"b"})"))
                    .starts_with("messages[1].role: got \"" + std::string(role) +
                                 "\", expected system, developer, user, assistant"));
  EXPECT_EQ(refusal(second(R"({"role":"assistant"})")),
            "messages[1].content: the field is missing, expected a string");
  EXPECT_EQ(refusal(second(R"({"role":"assistant","content":null})")),
            "messages[1].content: got null, expected a string");
  EXPECT_EQ(refusal(second(R"({"role":"user","content":null,"tool_calls":[{"name":"f"}]})")),
            "messages[1].content: got null, expected a string");
  EXPECT_EQ(refusal(second(R"({"role":"assistant","content":null,"tool_calls":[]})")),
            "messages[1].content: got null, expected a string");
  EXPECT_EQ(refusal(second(R"({"role":"assistant","content":7})")),
            "messages[1].content: got 7, expected a string");
  EXPECT_EQ(refusal(second(R"({"role":"assistant","content":{"text":"b"}})")),
            "messages[1].content: got an object, expected a string");
  EXPECT_EQ(refusal(second(R"({"role":"assistant","content":["b"]})")),
            "messages[1].content[0]: got \"b\", expected a part with type and text");
  EXPECT_EQ(
      refusal(second(R"({"role":"user","content":[{"type":"image_url","image_url":{}}]})")),
      "messages[1].content[0]: got a part of type \"image_url\", expected text: Nibble trains "
      "on text");
  EXPECT_EQ(refusal(second(R"({"role":"user","content":[{"type":"text","text":5}]})")),
            "messages[1].content[0].text: got 5, expected a string");
  EXPECT_EQ(refusal(second(R"({"role":"user","from":"human","content":"b"})")),
            "messages[1]: has both \"role\" and \"from\", expected one");
  EXPECT_EQ(refusal(second(R"({"role":"assistant","content":"","tool_calls":{"name":"f"}})")),
            "messages[1].tool_calls: got an object, expected a list of calls");
  EXPECT_EQ(refusal(second(R"({"role":"assistant","content":"","tool_calls":[5]})")),
            "messages[1].tool_calls[0]: got 5, expected an object");
  EXPECT_EQ(
      refusal(second(R"({"role":"assistant","content":"","tool_calls":[{"function":5}]})")),
      "messages[1].tool_calls[0].function: got 5, expected an object with name and arguments");
  EXPECT_EQ(
      refusal(second(
          R"({"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":"x="}}]})")),
      "messages[1].tool_calls[0].function.arguments: got \"x=\", expected JSON text");
  EXPECT_EQ(
      refusal(second(
          R"({"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":[1]}}]})")),
      "messages[1].tool_calls[0].function.arguments: got an array of 1, expected an object, or "
      "JSON "
      "text");
  EXPECT_EQ(refusal(R"({"messages":[{"role":"user","content":"a"}],"tools":5})"),
            "tools: got 5, expected a list of tools, or such a list as JSON text");
  EXPECT_EQ(refusal(R"({"messages":[{"role":"user","content":"a"}],"tools":"\"[]\""})"),
            "tools: got \"[]\", expected a list of tools, or such a list as JSON text");
  EXPECT_EQ(refusal(R"({"messages":[{"role":"user","content":"a"}],"tools":[{"x":1}]})"),
            "tools[0].name: the field is missing, expected a string");
  EXPECT_TRUE(refusal(R"({"messages":[{"role":"user","content":"a"}],"tools":"[1"})")
                  .starts_with("tools: got \"[1\", expected JSON text"));
  EXPECT_NE(refusal(R"({"conversations":[{"from":"system","value":"a"}],"system":"b"})")
                .find("a system field and a system message"),
            std::string::npos);
}

// Content nested 50 deep is legal JSON, and still no string.
TEST(RowFormat, NestedContent) {
  const std::string deep = std::string(50, '[') + "\"a\"" + std::string(50, ']');
  EXPECT_EQ(refusal(R"({"messages":[{"role":"user","content":)" + deep + "}]}"),
            "messages[0].content[0]: got an array of 1, expected a part with type and text");
}

// Odd conversations are the template's business, not the reader's.
TEST(RowFormat, OddConversationsPass) {
  for (const char* row :
       {R"({"messages":[{"role":"system","content":"only"}]})",
        R"({"messages":[{"role":"assistant","content":"first"}]})",
        R"({"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]})",
        R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":""}]})",
        R"({"messages":[{"role":"user","content":"<|im_end|><|endoftext|>"}]})"})
    EXPECT_EQ(example(row).kind, Kind::conversation) << row;
}

TEST(RowFormat, Floods) {
  std::string marks;
  for (int i = 0; i < 1000000; ++i) marks += "\xCC\x81";
  EXPECT_EQ(example(Json({{"text", marks}}).dump()).text, marks);
  // 50,000 messages, and an object of 50,000 fields: linear.
  std::string messages = R"({"messages":[{"role":"user","content":"a"})";
  for (int i = 0; i < 50000; ++i) messages += R"(,{"role":"user","content":"a"})";
  EXPECT_EQ(example(messages + "]}").messages.size(), 50001u);
  std::string fields = R"({"messages":[{"role":"user","content":"a")";
  for (int i = 0; i < 50000; ++i) fields += ",\"f" + std::to_string(i) + "\":1";
  EXPECT_EQ(example(fields + "}]}").messages[0].size(), 50002u);
}

TEST(RowFormat, Tokenized) {
  const Example e =
      example(R"({"input_ids":[5,0,7],"labels":[-100,0,7],"attention_mask":[1,1,1]})");
  EXPECT_EQ(e.kind, Kind::tokenized);
  EXPECT_EQ(e.ids, (std::vector<int32_t>{5, 0, 7}));
  EXPECT_EQ(e.labels, (std::vector<int32_t>{-100, 0, 7}));
  EXPECT_EQ(example(R"({"input_ids":[5,6]})").labels, (std::vector<int32_t>{5, 6}));
  for (const BadRow& bad : std::vector<BadRow>{
           {R"({"input_ids":[]})", "input_ids: the list is empty"},
           {R"({"input_ids":5})", "input_ids: got 5, expected a list of integers"},
           {R"({"input_ids":[1,"a"]})", "input_ids[1]: got \"a\", expected a token id"},
           {R"({"input_ids":[1.0]})", "input_ids[0]: got 1.0, expected a token id"},
           {R"({"input_ids":[-1]})", "input_ids[0]: got -1, expected a token id"},
           {R"({"input_ids":[2147483648]})", "input_ids[0]: got 2147483648, expected a token id"},
           {R"({"input_ids":[1,2],"labels":[1]})",
            "labels: got 1 entries, expected 2 as in input_ids"},
           {R"({"input_ids":[1,2],"labels":[1,3]})",
            "labels[1]: got 3, expected -100, or 2 as in input_ids"},
           {R"({"input_ids":[1,2],"labels":[1,-1]})",
            "labels[1]: got -1, expected -100, or 2 as in input_ids"},
           {R"({"input_ids":[1,2],"labels":{}})",
            "labels: got an object, expected a list of integers"},
           {R"({"input_ids":[1,2],"attention_mask":[1,0]})",
            "attention_mask[1]: got 0, expected 1: padding has no place in a row"},
           {R"({"input_ids":[1,2],"attention_mask":[1]})",
            "attention_mask: got 1 entries, expected 2 as in input_ids"}})
    EXPECT_EQ(refusal(bad.row), bad.message);
}

// --- real datasets ---

struct Counts {
  std::map<RowFormat, int> formats;
  std::map<Kind, int> kinds;
  int messages = 0, tools = 0, calls = 0, trained = 0, refused = 0;
};

Counts counts_of(const std::string& name) {
  const auto reader = open_rows(shared_data() / "datasets" / name);
  Counts counts;
  for (RawRow row; reader->next(row);) try {
      const Json parsed = reader->parse(row);
      const RowFormat format = recognize_format(parsed, {});
      ++counts.formats[format];
      const Example e = to_example(parsed, format, {});
      ++counts.kinds[e.kind];
      counts.messages += static_cast<int>(e.messages.size());
      counts.tools += static_cast<int>(e.tools.size());
      for (const Json& message : e.messages) counts.calls += message.contains("tool_calls") ? 1 : 0;
      for (const auto& train : e.train) counts.trained += train == true ? 1 : 0;
    } catch (const Error&) {
      ++counts.refused;
    }
  return counts;
}

TEST(RealDatasets, EveryRowIsRecognized) {
  NIBBLE_NEEDS_SHARED_DATA();
  const std::vector<std::tuple<const char*, RowFormat, Kind, int>> sets = {
      {"alpaca/alpaca_5000.json", RowFormat::alpaca, Kind::conversation, 5000},
      {"alpaca/alpaca_tiny.json", RowFormat::alpaca, Kind::conversation, 100},
      {"alpaca/identity.json", RowFormat::alpaca, Kind::conversation, 91},
      {"gsm8k/train.jsonl", RowFormat::question_answer, Kind::conversation, 7473},
      {"sharegpt/axolotl-conversation.json", RowFormat::sharegpt, Kind::conversation, 1},
      {"sharegpt/axolotl-conversation.missingturns.json", RowFormat::sharegpt, Kind::conversation,
       1},
      {"sharegpt/axolotl-conversation.tokenized.json", RowFormat::tokenized, Kind::tokenized, 1},
      {"sharegpt/glaive_toolcall_en_demo.json", RowFormat::sharegpt, Kind::conversation, 300},
      {"sharegpt/v1_sft_demo.jsonl", RowFormat::messages, Kind::conversation, 500},
      {"text/c4_demo.jsonl", RowFormat::text, Kind::text, 300},
      {"text/wiki_demo.txt", RowFormat::text, Kind::text, 30},
      {"text/tiny_shakespeare.txt", RowFormat::text, Kind::text, 32777},
  };
  for (const auto& [name, format, kind, rows] : sets) {
    SCOPED_TRACE(name);
    const Counts counts = counts_of(name);
    EXPECT_EQ(counts.formats, (std::map<RowFormat, int>{{format, rows}}));
    EXPECT_EQ(counts.kinds, (std::map<Kind, int>{{kind, rows}}));
    EXPECT_EQ(counts.refused, 0);
  }
  // Self-instruct's seeds hold lists of instances, which is none of the forms.
  EXPECT_EQ(counts_of("seed/seed_tasks.jsonl").refused, 175);
}

// Counted with Python's json: 746 + 746 + 211 + 211 turns; 211 function calls; 191 rows with tools.
TEST(RealDatasets, ToolCallsAndWeights) {
  NIBBLE_NEEDS_SHARED_DATA();
  const Counts glaive = counts_of("sharegpt/glaive_toolcall_en_demo.json");
  EXPECT_EQ(glaive.messages, 1914);
  EXPECT_EQ(glaive.calls, 211);
  const Counts weighted = counts_of("sharegpt/v1_sft_demo.jsonl");
  EXPECT_EQ(weighted.messages, 1000);
  EXPECT_EQ(weighted.trained, 500);
}

// The same conversation as ShareGPT and as axolotl tokenized it for Llama 2: what the ids say is
// trained are the answers, each with the "</s>" that axolotl wrote out, and the end token.
TEST(RealDatasets, TrainedIdsAreTheAnswers) {
  NIBBLE_NEEDS_SHARED_DATA();
  const auto only_row = [](const std::string& name) {
    const auto reader = open_rows(shared_data() / "datasets" / "sharegpt" / name);
    RawRow row;
    EXPECT_TRUE(reader->next(row));
    return to_example(reader->parse(row), RowFormat::automatic, {});
  };
  const auto file = shared_data() / "models" / "Llama-2-7b" / "tokenizer.hf-original.json";
  const Tokenizer tokenizer = Tokenizer::from_json(read_json_file(file, "tokenizer"), "tokenizer");
  std::vector<std::string> answers;
  for (const Json& message : only_row("axolotl-conversation.json").messages)
    if (message["role"] == "assistant")
      answers.push_back(message["content"].get<std::string>() + "</s></s>");
  const Example ids = only_row("axolotl-conversation.tokenized.json");
  std::vector<std::string> trained;
  for (size_t i = 0; i < ids.ids.size(); ++i) {
    if (ids.labels[i] < 0) continue;
    size_t end = i;
    while (end < ids.ids.size() && ids.labels[end] >= 0) ++end;
    trained.push_back(tokenizer.decode(std::span(ids.ids).subspan(i, end - i), false));
    i = end;
  }
  EXPECT_EQ(trained, answers);
}

}  // namespace
}  // namespace nibble::test
