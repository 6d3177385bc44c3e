// TRL's training templates say with {% generation %} tags what an assistant's turn is. Nibble's
// spans, found without looking at the tags, against them; what differs is printed.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "data/conversation.h"
#include "support/data.h"

namespace nibble::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// The demo's tokenizer with everything in the template that looks like a control token.
Tokenizer tokenizer_for(const std::string& source) {
  auto json =
      nlohmann::json::parse(read_file(fs::path(NIBBLE_SOURCE_DIR) / "demo/model/tokenizer.json"));
  std::set<std::string> found = {"<eos-token>", "<bos-token>"};
  for (size_t begin = 0; begin < source.size(); ++begin) {
    if (source[begin] != '<' && source[begin] != '[') continue;
    const size_t end = source.find(source[begin] == '<' ? '>' : ']', begin);
    if (end == std::string::npos || end - begin > 40) continue;
    const std::string token = source.substr(begin, end + 1 - begin);
    const bool control = token[0] == '[' ? token == "[INST]" || token == "[/INST]"
                                         : token.find("|") != std::string::npos ||
                                               token.find("｜") != std::string::npos ||
                                               token.ends_with("_of_turn>") || token == "<sop>";
    if (control && token.find_first_of(" '\"{}") == std::string::npos) found.insert(token);
  }
  int32_t id = 1920;
  for (const auto& known : json["added_tokens"]) found.erase(known["content"].get<std::string>());
  for (const std::string& token : found)
    json["added_tokens"].push_back({{"id", id++},
                                    {"content", token},
                                    {"single_word", false},
                                    {"lstrip", false},
                                    {"rstrip", false},
                                    {"normalized", false},
                                    {"special", true}});
  return Tokenizer::from_json(json, "tokenizer.json");
}

Json first(const Json& messages, size_t count) {
  Json part = Json::array();
  for (size_t i = 0; i < count; ++i) part.push_back(messages[i]);
  return part;
}

TEST(GenerationTags, SpansAreThoseOfTheTags) {
  NIBBLE_NEEDS_SHARED_DATA();
  const std::vector<Json> conversations = {
      Json::parse(R"([{"role": "user", "content": "Where?"},
                      {"role": "assistant", "content": "Here, I think."}])"),
      Json::parse(R"([{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "A."},
                      {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "B."}])")};
  int templates = 0, turns = 0, equal = 0, prompt_supplied = 0, space_behind = 0;
  for (const auto& entry : fs::directory_iterator(shared_data() / "chat-templates/trl")) {
    const std::string source = read_file(entry.path()), name = entry.path().filename();
    // llava takes content in parts only.
    if (source.find("generation %}") == std::string::npos || name.starts_with("llava")) continue;
    SCOPED_TRACE(name);
    ++templates;
    const ChatFormat format{ChatTemplate::parse(source, name),
                            std::nullopt,
                            {{"bos_token", "<bos-token>"}, {"eos_token", "<eos-token>"}},
                            "",
                            0,
                            {}};
    const Tokenizer tokenizer = tokenizer_for(source);
    for (const Json& messages : conversations) {
      Example example;
      example.kind = Example::Kind::conversation;
      example.messages = messages;
      std::vector<Finding> findings;
      for (const TrainedText& text : trained_texts(example, format, tokenizer, {}, {}, findings)) {
        // A turn that later ones rewrite ends a text of its own.
        auto tagged = text.rendering.generation;
        ASSERT_GE(tagged.size(), text.trained.size());
        tagged.erase(tagged.begin(), tagged.end() - std::ssize(text.trained));
        for (size_t i = 0; i < tagged.size(); ++i) {
          const auto [begin, end] = text.trained[i];
          const auto [tag_begin, tag_end] = tagged[i];
          const std::string& all = text.rendering.text;
          const auto show = [&] {
            return Json(all.substr(tag_begin, tag_end - tag_begin)).dump() + " trained " +
                   Json(all.substr(begin, end - begin)).dump();
          };
          ++turns;
          equal += begin == tag_begin && end == tag_end ? 1 : 0;
          ASSERT_LE(end, tag_end) << show();
          space_behind += end < tag_end ? 1 : 0;
          EXPECT_EQ(all.substr(end, tag_end - end).find_first_not_of(" \n"), std::string::npos)
              << show();
          if (begin == tag_begin) continue;
          ++prompt_supplied;
          ASSERT_GT(begin, tag_begin) << show();
          bool supplied = false;
          for (size_t k = 1; k < messages.size(); k += 2)
            supplied =
                supplied ||
                format.render(first(messages, k), {}, true).text.starts_with(all.substr(0, begin));
          EXPECT_TRUE(supplied) << show();
        }
      }
    }
  }
  std::printf(
      "%d turns of %d templates: %d as tagged, %d less what the generation prompt supplies, "
      "%d less white space behind the end\n",
      turns, templates, equal, prompt_supplied, space_behind);
  EXPECT_GT(templates, 20);
}

}  // namespace
}  // namespace nibble::test
