// Twenty pairs of a real tokenizer with its chat template and a real dataset: nothing is wrong, and
// `nibble check` says so.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "support/commands.h"
#include "support/data.h"
#include "support/program.h"

namespace nibble::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct RealModel {
  const char* name;
  const char* tokenizer;      // below models/
  const char* config;         // below shared data
  const char* stops;          // generation_config.json
  const char* chat_template;  // below chat-templates/, or the text; null: the tokenizer's own
};

const std::vector<RealModel> models = {
    {"phi4mini", "Phi-4-mini-instruct/tokenizer.json", "models/Phi-4-mini-instruct/config.json",
     R"({"eos_token_id": [200020, 199999]})", nullptr},
    {"llama31", "Llama-3.1-8B-Instruct/tokenizer.json", "configs/Llama-3.1-8B-Instruct.json",
     R"({"eos_token_id": [128001, 128008, 128009]})",
     "llama.cpp-templates/meta-llama-Llama-3.1-8B-Instruct.jinja"},
    {"qwen3", "Qwen3/tokenizer.json", "configs/Qwen3-8B.json",
     R"({"eos_token_id": [151645, 151643]})", nullptr},
    {"phi3", "Phi-3-mini/tokenizer.json", "configs/Phi-3.5-mini-instruct.json",
     R"({"eos_token_id": [32007, 32001, 32000]})", nullptr},
    {"llama2", "Llama-2-7b/tokenizer.hf-original.json", "configs/Mistral-7B-Instruct-v0.3.json",
     R"({"eos_token_id": 2})",
     "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content | trim }} "
     "[/INST]{% else %} {{ m.content | trim }} {{ eos_token }}{% endif %}{% endfor %}"},
};

fs::path make_model(const RealModel& model, const fs::path& folder) {
  const fs::path shared = shared_data(), path = folder / model.name;
  const fs::path tokenizer = shared / "models" / model.tokenizer;
  fs::create_directory(path);
  write_file(path / "tokenizer.json", read_file(tokenizer));
  const fs::path config = tokenizer.parent_path() / "tokenizer_config.json";
  write_file(path / "tokenizer_config.json",
             fs::exists(config)
                 ? read_file(config)
                 : R"({"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"})");
  write_file(path / "config.json", read_file(shared / model.config));
  write_file(path / "generation_config.json", model.stops);
  if (model.chat_template) {
    const std::string source = model.chat_template;
    write_file(path / "chat_template.jinja",
               source.ends_with(".jinja") ? read_file(shared / "chat-templates" / source) : source);
  }
  return path;
}

class CleanPairs : public testing::TestWithParam<RealModel> {};

TEST_P(CleanPairs, GiveNoAlarm) {
  NIBBLE_NEEDS_SHARED_DATA();
  const TempDir folder;
  const fs::path model = make_model(GetParam(), folder.path());
  std::istringstream questions(read_file(shared_data() / "datasets/gsm8k/train.jsonl"));
  std::string some, line;
  for (int i = 0; i < 300 && std::getline(questions, line); ++i) some += line + "\n";
  write_file(folder / "gsm8k.jsonl", some);
  const fs::path data = shared_data() / "datasets";
  for (const fs::path& file : {data / "alpaca/alpaca_tiny.json", data / "alpaca/identity.json",
                               data / "sharegpt/v1_sft_demo.jsonl", folder / "gsm8k.jsonl"}) {
    SCOPED_TRACE(file.filename());
    const Json json =
        Json::parse(output_of({"check", "--json", "--model_name_or_path", model.string(),
                               "--dataset", file.string(), "--max_length", "2048"}));
    for (const Json& guard : json["guards"]) EXPECT_EQ(guard["count"], 0) << guard.dump();
    EXPECT_GT(json["dataset"]["documents"], 50);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, CleanPairs, testing::ValuesIn(models),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace nibble::test
