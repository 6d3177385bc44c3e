// render, chat, and generate through the chat template, on the demo's model.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "support/commands.h"
#include "support/demo_run.h"
#include "support/program.h"

namespace nibble::test {
namespace {

using Json = nlohmann::ordered_json;

class ChatCommands : public testing::Test {
 protected:
  void SetUp() override {
    write_file(folder_ / "talk.json",
               R"([{"role": "user", "content": "Who is Ines?"},
                   {"role": "assistant", "content": " A baker. "}])");
  }
  std::string messages() const { return (folder_ / "talk.json").string(); }
  const std::string model_ = demo_model().string();
  TempDir folder_;
};

TEST_F(ChatCommands, RenderTellsWhereEveryByteComesFrom) {
  const Json json = Json::parse(
      output_of({"render", "--model_name_or_path", model_, "--messages", messages(), "--json"}));
  EXPECT_EQ(json["text"],
            "<|begin_of_text|>Question: Who is Ines?\nAnswer: A baker.<|end_of_text|>");
  std::string from_messages;
  size_t end = 0;
  for (const Json& span : json["spans"]) {
    EXPECT_EQ(span["begin"], end);
    end = span["end"];
    const std::string from = span["from"];
    if (from == "messages[1].content")
      from_messages += json["text"].get<std::string>().substr(span["begin"].get<size_t>(),
                                                              end - span["begin"].get<size_t>());
  }
  EXPECT_EQ(end, json["text"].get<std::string>().size());
  EXPECT_EQ(from_messages, "A baker.");
  EXPECT_EQ(json["trained"][0]["spans"].size(), 1u);
  const std::string prompt = output_of({"render", "--model_name_or_path", model_, "--messages",
                                        messages(), "--add_generation_prompt"});
  EXPECT_NE(prompt.find("<|end_of_text|>Answer:\n"), std::string::npos) << prompt;
}

TEST_F(ChatCommands, ToolsReachTheTemplate) {
  write_file(folder_ / "tools.json", R"([{"type": "function", "function": {"name": "look"}}])");
  write_file(folder_ / "t.jinja", "{% for t in tools %}{{ t.function.name }}{% endfor %}");
  const Json json =
      Json::parse(output_of({"render", "--model_name_or_path", model_, "--messages", messages(),
                             "--tools", (folder_ / "tools.json").string(), "--chat_template_path",
                             (folder_ / "t.jinja").string(), "--json", "--add_generation_prompt"}));
  EXPECT_EQ(json["text"], "look");
  EXPECT_EQ(json["spans"][0]["from"], "tools");
}

TEST_F(ChatCommands, GenerateAppliesTheTemplate) {
  const std::vector<std::string> base = {"generate", "--model_name_or_path", model_, "--threads",
                                         "1",        "--max_new_tokens",     "8"};
  const std::string raw = output_of(joined(
      base, {"--prompt", "Question: Who is Ines?\nAnswer:", "--apply_chat_template", "false"}));
  EXPECT_EQ(output_of(joined(base, {"--prompt", "Who is Ines?"})), raw);
  write_file(folder_ / "ask.json", R"([{"role": "user", "content": "Who is Ines?"}])");
  EXPECT_EQ(output_of(joined(base, {"--messages", (folder_ / "ask.json").string()})), raw);
  expect_failure(joined(base, {"--messages", messages(), "--apply_chat_template", "false"}), 64,
                 "chat template");
}

// A turn answers as generate does from the whole conversation: what the cache keeps changes
// nothing.
TEST_F(ChatCommands, ChatKeepsTheConversation) {
  const std::vector<std::string> model = {
      "--model_name_or_path",     model_,   "--threads", "1", "--max_new_tokens", "6",
      "--bnb_4bit_compute_dtype", "float32"};
  const auto chat = [&](const std::string& lines) {
    return run_program_with_input(joined({"chat", "--max_length", "200"}, model), lines);
  };
  const ProgramResult two = chat("Who is Ines?\nWhere is the goose?\n/reset\nWho is Ines?\n");
  ASSERT_EQ(two.exit_code, 0) << two.err;
  std::vector<std::string> answers;
  for (size_t begin = 0, end; (end = two.out.find('\n', begin)) != std::string::npos;
       begin = end + 1)
    answers.push_back(two.out.substr(begin, end - begin));
  ASSERT_EQ(answers.size(), 3u) << two.out;
  EXPECT_EQ(answers[0], answers[2]);
  const auto said = [](const std::string& answer) {
    return answer.substr(0, answer.find(" [max_new_tokens]"));
  };
  write_file(folder_ / "talk.json",
             Json::array({{{"role", "user"}, {"content", "Who is Ines?"}},
                          {{"role", "assistant"}, {"content", said(answers[0])}},
                          {{"role", "user"}, {"content", "Where is the goose?"}}})
                 .dump());
  EXPECT_EQ(output_of(joined({"generate", "--messages", messages()}, model)),
            said(answers[1]) + "\n");
  const ProgramResult long_one = chat(std::string(2000, 'x') + "\n/nonsense\n");
  EXPECT_NE(long_one.out.find("/reset begins anew"), std::string::npos) << long_one.out;
  EXPECT_EQ(long_one.exit_code, 0);
}

TEST_F(ChatCommands, AModelWithoutTemplateSaysSo) {
  const TempDir other;
  const std::string model = model_with_tokenizer("llama3", other.path()).string();
  expect_failure({"chat", "--model_name_or_path", model}, 66, "no chat template");
  expect_failure({"render", "--model_name_or_path", model, "--messages", messages()}, 66,
                 "no chat template");
}

}  // namespace
}  // namespace nibble::test
