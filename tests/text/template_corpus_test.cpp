// Every chat template of the real data, rendered with every conversation, against jinja2 as
// transformers runs it: text, ranges inside {% generation %}, and where it raises. The templates
// are other people's and not here; tests/goldens/text/jinja/corpus.golden.tsv has hashes of what
// jinja2 made of them.
#include <algorithm>
#include <cstdio>
#include <map>
#include <span>
#include <sstream>

#include "core/error.h"
#include "files/hashes.h"
#include "text/template_cases.h"

namespace nibble {
namespace {

using test::OrderedJson;

std::string short_hash(const std::string& text, size_t digits) {
  return sha256_hex(std::as_bytes(std::span(text))).substr(0, digits);
}

// All strings named chat_template or template, however deep.
void find_templates(const OrderedJson& json, const std::string& key,
                    std::vector<std::string>& found) {
  if (json.is_string()) {
    const auto text = json.get<std::string>();
    if ((key == "chat_template" || key == "template") && text.find('{') != std::string::npos) {
      found.push_back(text);
    }
  } else if (json.is_object()) {
    for (const auto& [name, value] : json.items()) find_templates(value, name, found);
  } else if (json.is_array()) {
    for (const auto& value : json) find_templates(value, key, found);
  }
}

std::map<std::string, std::string> corpus() {
  namespace fs = std::filesystem;
  std::vector<std::string> found;
  for (const auto& entry : fs::recursive_directory_iterator(test::shared_data())) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() == ".jinja") {
      found.push_back(test::read_file(entry.path()));
    } else if (name == "e2e_vectors.json" || name == "test-chat-template.json" ||
               name == "tokenizer_config.json") {
      find_templates(test::read_ordered_json(entry.path()), "", found);
    }
  }
  std::map<std::string, std::string> by_hash;
  for (std::string& text : found) {
    std::string hash = short_hash(text, 64);
    by_hash.emplace(std::move(hash), std::move(text));
  }
  return by_hash;
}

std::string hash_of(const Rendering& rendering, bool with_generation) {
  std::string hash = short_hash(rendering.text, 16);
  if (with_generation) hash += short_hash(OrderedJson(rendering.generation).dump(), 8);
  return hash;
}

TEST(TemplateCorpus, RendersAndRaisesAsJinja2) {
  NIBBLE_NEEDS_SHARED_DATA();
  const auto templates = corpus();
  const auto cases = test::template_cases();
  std::istringstream golden(test::read_file(test::golden("text/jinja/corpus.golden.tsv")));
  size_t count = 0, equal = 0, rendered = 0, raised = 0, raising = 0, ranges = 0;
  for (std::string line; std::getline(golden, line); ++count) {
    std::istringstream cells(line);
    std::string cell;
    std::getline(cells, cell, '\t');
    const auto found = templates.find(cell);
    ASSERT_NE(found, templates.end()) << "no template of the real data has the hash " << cell;
    std::optional<ChatTemplate> parsed;
    try {
      parsed = ChatTemplate::parse(found->second, "template");
    } catch (const Error&) {
    }
    for (const auto& each : cases) {
      ASSERT_TRUE(std::getline(cells, cell, '\t'));
      std::string got = "-";
      std::string why = "does not parse";
      if (parsed) {
        try {
          got = hash_of(each.render(*parsed), cell.size() == 24);
        } catch (const Error& error) {
          ASSERT_EQ(error.kind(), ErrorKind::bad_input);
          why = error.what();
        }
      }
      cell == "-" ? ++raising : ++rendered;
      ranges += cell.size() == 24 ? 1 : 0;
      if (got == cell) cell == "-" ? ++raised : ++equal;
      EXPECT_EQ(got, cell) << found->first << " " << why << "\n" << each.messages.dump();
    }
  }
  EXPECT_EQ(count, templates.size());
  EXPECT_GE(cases.size(), 40u);
  EXPECT_EQ(equal, rendered);
  EXPECT_EQ(raised, raising);
  std::printf(
      "%zu templates x %zu cases: %zu of %zu renderings equal (%zu of them with generated "
      "ranges), %zu of %zu raise\n",
      count, cases.size(), equal, rendered, ranges, raised, raising);
}

// Vectors with messages and targets of their own, as huggingface.js ships them. Two targets are not
// what transformers renders: Hammer's follows JavaScript, and Jamba's leaves `tools` undefined,
// where transformers passes None.
TEST(TemplateCorpus, VectorsOfHuggingfaceJs) {
  NIBBLE_NEEDS_SHARED_DATA();
  size_t count = 0;
  std::vector<std::string> missed;
  const auto visit = [&](const auto& self, const OrderedJson& json,
                         const std::string& name) -> void {
    if (!json.contains("data")) {
      for (const auto& [key, value] : json.items()) {
        if (value.is_object()) self(self, value, key);
      }
      return;
    }
    ++count;
    OrderedJson data = json.at("data");
    OrderedJson conversation;
    for (const char* key : {"messages", "tools", "documents"}) {
      if (data.contains(key)) conversation[key] = data[key];
      data.erase(key);
    }
    const bool prompt = data.value("add_generation_prompt", false);
    data.erase("add_generation_prompt");
    test::TemplateCase each(conversation, prompt);
    each.variables = data;
    std::string text;
    try {
      text =
          each.render(ChatTemplate::parse(json.at("chat_template").get<std::string>(), name)).text;
    } catch (const Error& error) {
      text = error.what();
    }
    if (text != json.at("target").get<std::string>()) missed.push_back(name);
  };
  visit(visit,
        test::read_ordered_json(test::shared_data() / "chat-templates/hf-jinja/e2e_vectors.json"),
        "");
  std::printf("%zu of %zu targets of huggingface.js equal\n", count - missed.size(), count);
  EXPECT_EQ(count, 53u);
  EXPECT_EQ(missed,
            (std::vector<std::string>{"MadeAgents/Hammer2.1", "ai21labs/AI21-Jamba-Large-1.6"}));
}

TEST(TemplateCorpus, VectorsOfLlamaCpp) {
  NIBBLE_NEEDS_SHARED_DATA();
  const OrderedJson file = test::read_ordered_json(
      test::shared_data() / "chat-templates/llama.cpp-vectors/test-chat-template.json");
  size_t count = 0, equal = 0;
  for (const auto& item : file.at("cases")) {
    if (!item.value("supported_with_jinja", true)) continue;
    ++count;
    test::TemplateCase each(OrderedJson{{"messages", file.at("messages")}}, true);
    each.variables = {{"bos_token", item.value("bos_token", "")},
                      {"eos_token", item.value("eos_token", "")}};
    const std::string expected = item.contains("expected_output_jinja") &&
                                         item["expected_output_jinja"].is_string() &&
                                         !item["expected_output_jinja"].get<std::string>().empty()
                                     ? item["expected_output_jinja"].get<std::string>()
                                     : item.at("expected_output").get<std::string>();
    try {
      const auto parsed = ChatTemplate::parse(item.at("template").get<std::string>(), "template");
      equal += each.render(parsed).text == expected ? 1 : 0;
    } catch (const Error&) {  // its test rewrites messages that the template refuses
    }
  }
  std::printf("%zu of %zu targets of llama.cpp equal\n", equal, count);
  EXPECT_EQ(count, 32u);
  EXPECT_EQ(equal, 26u);
}

}  // namespace
}  // namespace nibble
