// The thirty silent failures of docs/data.md, each planted once: `nibble check` or the run's start
// finds it, or the run shows that it cannot happen.
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "support/commands.h"
#include "support/demo_run.h"
#include "support/program.h"

namespace nibble::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Arguments = std::vector<std::string>;

constexpr const char* bos = "<|begin_of_text|>";
constexpr const char* eos = "<|end_of_text|>";

Json user(const std::string& text) { return {{"role", "user"}, {"content", text}}; }
Json assistant(const std::string& text) { return {{"role", "assistant"}, {"content", text}}; }

class ThirtyFaults : public testing::Test {
 protected:
  void SetUp() override {
    fs::copy(demo_model(), model_, fs::copy_options::recursive);
    conversations({{user("Where does Ines live?"), assistant("On Chapel Row.")},
                   {user("What does Minnie do?"), assistant("She draws maps.")},
                   {user("Who is Cosmo?"), assistant("A baker.")},
                   {user("What does Ada collect?"), assistant("Old keys and new locks.")}});
  }

  void rows(const std::string& text) { write_file(folder_ / "rows.jsonl", text); }
  void conversations(const std::vector<std::vector<Json>>& all) {
    std::string text;
    for (const auto& messages : all) text += Json{{"messages", messages}}.dump() + "\n";
    rows(text);
  }
  void chat_template(const std::string& source) {
    write_file(model_ / "chat_template.jinja", source);
  }
  // A turn of the demo's own template with `turn` for what an assistant says.
  void assistant_template(const std::string& turn) {
    chat_template(
        "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}"
        "Question: {{ message.content }}\n{% else %}Answer:" +
        turn + "{% endif %}{% endfor %}{% if add_generation_prompt %}Answer:{% endif %}");
  }
  // The bf16 rows [first, first + count) of a weight become zero.
  void zero_rows(const std::string& name, size_t first, size_t count) {
    std::string bytes = read_file(model_ / "model.safetensors");
    uint64_t header = 0;
    std::memcpy(&header, bytes.data(), sizeof header);
    const Json tensor = Json::parse(bytes.substr(8, header))[name];
    const size_t width = tensor["shape"].size() == 2 ? tensor["shape"][1].get<size_t>() : 1;
    const size_t begin = 8 + header + tensor["data_offsets"][0].get<size_t>() + 2 * first * width;
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(begin), 2 * count * width, '\0');
    write_file(model_ / "model.safetensors", bytes);
  }

  Arguments data_arguments() const {
    return {"--model_name_or_path",
            model_.string(),
            "--dataset",
            (folder_ / "rows.jsonl").string(),
            "--max_length",
            "64"};
  }
  Json check(const Arguments& more = {}) const {
    const ProgramResult result =
        run_program(joined(joined({"check", "--json"}, data_arguments()), more));
    EXPECT_FALSE(result.out.empty()) << result.err;
    const Json json = Json::parse(result.out, nullptr, false);
    bool failed = false;
    if (!json.is_discarded())
      for (const Json& guard : json["guards"]) failed = failed || guard["verdict"] == "FAILED";
    EXPECT_EQ(result.exit_code, failed ? 66 : 0) << result.err;
    return json;
  }
  // The guard's verdict is `verdict` and it names a first row.
  void expect_verdict(int number, const std::string& verdict, const Arguments& more = {}) const {
    const Json json = check(more);
    const Json& guard = json.at("guards").at(static_cast<size_t>(number - 1));
    EXPECT_EQ(guard["number"], number);
    EXPECT_EQ(guard["verdict"], verdict) << guard.dump();
    EXPECT_GE(guard["count"], 1);
    if (verdict == "FAILED")
      expect_failure_of_train(
          number == 20 ? "matches no linear layer" : guard["name"].get<std::string>(), more);
  }
  Arguments train_arguments(const std::string& output = "run") const {
    return joined({"train", "--output_dir", (folder_ / output).string(), "--max_steps", "3",
                   "--per_device_train_batch_size", "4", "--logging_steps", "1", "--threads", "1",
                   "--learning_rate", "1e-3", "--lora_r", "4"},
                  data_arguments());
  }
  void expect_failure_of_train(const std::string& words, const Arguments& more = {}) const {
    const ProgramResult result = run_program(joined(train_arguments("refused"), more));
    EXPECT_NE(result.exit_code, 0);
    EXPECT_NE(result.err.find(words), std::string::npos) << result.err;
    EXPECT_FALSE(fs::exists(folder_ / "refused/adapter"));
    EXPECT_FALSE(fs::exists(folder_ / "refused/checkpoint-3"));
  }
  ProgramResult train(const Arguments& more = {}, const std::string& output = "run") const {
    const ProgramResult result = run_program(joined(train_arguments(output), more));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result;
  }
  std::vector<Json> metrics(const std::string& output) const {
    std::vector<Json> lines;
    std::istringstream text(read_file(folder_ / output / "metrics.jsonl"));
    for (std::string line; std::getline(text, line);) lines.push_back(Json::parse(line));
    return lines;
  }
  // What is trained of the row that `check` shows.
  std::string trained_text(const Arguments& more = {}) const {
    std::string text;
    const Json json = check(more);
    for (const Json& stretch : json["example"]["stretches"])
      if (stretch["trained"]) text += stretch["text"].get<std::string>();
    return text;
  }

  TempDir folder_;
  fs::path model_ = folder_ / "model";
};

TEST_F(ThirtyFaults, F00_NoneIsFoundWhereNoneIs) {
  const Json json = check();
  for (const Json& guard : json["guards"]) EXPECT_EQ(guard["count"], 0) << guard.dump();
  EXPECT_EQ(trained_text(), std::string(" On Chapel Row.") + eos);
}

TEST_F(ThirtyFaults, F01_AllLabelsMasked) {
  Json masked = assistant("On Chapel Row.");
  masked["train"] = false;
  conversations({{user("Where?"), assistant("Here.")}, {user("Where does Ines live?"), masked}});
  expect_verdict(1, "FAILED");
}

TEST_F(ThirtyFaults, F02_TruncationCutsTheAnswer) {
  expect_verdict(2, "FAILED", {"--max_length", "12"});
}

TEST_F(ThirtyFaults, F03_EndNeverTrained) {
  assistant_template(" {{ message.content }}\n");
  expect_verdict(3, "FAILED");
}

TEST_F(ThirtyFaults, F04_EndIsNoStopAndTheAdapterSaysOtherwise) {
  write_file(model_ / "generation_config.json", R"({"eos_token_id": 0, "do_sample": false})");
  expect_verdict(4, "warning");
  train();
  const Json written = Json::parse(read_file(folder_ / "run/adapter/generation_config.json"));
  EXPECT_EQ(written["eos_token_id"], Json::parse("[0, 1]"));
  EXPECT_EQ(written["do_sample"], false);
}

TEST_F(ThirtyFaults, F05_EndUntrainedInTheBase) {
  zero_rows("model.embed_tokens.weight", 1, 1);
  expect_verdict(5, "warning");
}

TEST_F(ThirtyFaults, F06_DoubleBos) {
  rows(Json{{"text", std::string(bos) + "Ines lives on Chapel Row."}}.dump() + "\n");
  expect_verdict(6, "FAILED");
}

TEST_F(ThirtyFaults, F07_AnotherModelsTemplate) {
  rows(Json{{"text", "### Instruction:\nWhere?\n\n### Response:\nHere."}}.dump() + "\n");
  expect_verdict(7, "warning");
}

TEST_F(ThirtyFaults, F08_TheMarkerOccursInTheText) {
  conversations({{user("Say it. Answer: no"), assistant("Answer: yes\nQuestion: why?")}});
  EXPECT_EQ(trained_text(), std::string(" Answer: yes\nQuestion: why?") + eos);
}

TEST_F(ThirtyFaults, F09_ATokenOnTheEdge) {
  rows(Json{{"prompt", "Ines lives on Chap"}, {"completion", "el Row."}}.dump() + "\n");
  expect_verdict(9, "note");
}

TEST_F(ThirtyFaults, F10_HistoryIsRewritten) {
  assistant_template(
      " {% if loop.last %}{{ message.content }}{% else %}"
      "{{ message.content.split('|')[-1] }}{% endif %}{{ eos_token }}");
  conversations({{user("Where?"), assistant("I think|Here."), user("Who?"), assistant("Me.")}});
  expect_verdict(10, "warning");
  EXPECT_EQ(check()["dataset"]["documents"], 2);
}

TEST_F(ThirtyFaults, F11_AFieldIsDropped) {
  Json thinking = assistant("Here.");
  thinking["reasoning_content"] = "There are two places.";
  conversations({{user("Where?"), thinking}});
  expect_verdict(11, "FAILED");
}

TEST_F(ThirtyFaults, F12_NullIsPrinted) {
  assistant_template(
      " {{ message.content }}{% if message.tool_calls %}"
      "{{ message.tool_calls | tojson }}{% endif %}{{ eos_token }}");
  const Json call = {
      {"role", "assistant"},
      {"content", nullptr},
      {"tool_calls",
       {{{"type", "function"}, {"function", {{"name", "look"}, {"arguments", {{"at", "sea"}}}}}}}}};
  conversations({{user("Where?"), call}});
  expect_verdict(12, "warning");
  EXPECT_EQ(check({"--null_content_as_empty", "true"})["guards"][11]["count"], 0);
}

// Two of five rows are bad, some of them in several turns or pieces: two rows are counted, and the
// first of them is named.
TEST_F(ThirtyFaults, TheFirstBadRowIsNamedAndRowsAreCounted) {
  const auto expect_two = [&](int number, const Arguments& more = {}) {
    const Json json = check(more);
    const Json& guard = json.at("guards").at(static_cast<size_t>(number - 1));
    EXPECT_EQ(guard["count"], 2) << guard.dump();
    EXPECT_NE(guard["first"].get<std::string>().find("rows.jsonl: row 3 (byte "), std::string::npos)
        << guard.dump();
  };
  const auto talks = [&](const std::vector<Json>& bad) {
    const std::vector<Json> good = {user("Where?"), assistant("Here.")};
    conversations({good, {user("Who?"), assistant("Me.")}, bad, good, bad});
  };
  const auto texts = [&](const Json& good, const Json& bad) {
    std::string text;
    for (const Json& each : {good, good, bad, good, bad}) text += each.dump() + "\n";
    rows(text);
  };

  Json masked = assistant("On Chapel Row.");
  masked["train"] = false;
  talks({user("Where?"), masked});
  expect_two(1);

  talks({user("Where?"), assistant("There, and after that somewhere else, and then at home.")});
  expect_two(2, {"--max_length", "16"});

  texts({{"text", "Ines lives here."}},
        {{"text", std::string(bos) + "Ines lives on Chapel Row, and Ada on Mill Lane."}});
  expect_two(6);

  // In both pieces of the row.
  const std::string marked = "### Instruction:\nWhere?\n\n### Instruction:\nWho?";
  texts({{"text", "Here."}}, {{"text", marked}});
  expect_two(7);
  expect_two(7, {"--max_length", "16", "--truncation_mode", "split"});

  texts({{"prompt", "Ines lives on"}, {"completion", " Chapel Row."}},
        {{"prompt", "Ines lives on Chap"}, {"completion", "el Row."}});
  expect_two(9);

  Json thinking = assistant("Here.");
  thinking["reasoning_content"] = "There are two places.";
  thinking["mood"] = "doubtful";
  talks({user("Where?"), thinking, user("Who?"), thinking});
  expect_two(11);

  talks({user(std::string("Where? ") + eos), assistant("Here."), user(eos), assistant("Me.")});
  expect_two(26);

  assistant_template(
      " {% if loop.last %}{{ message.content }}{% else %}"
      "{{ message.content.split('|')[-1] }}{% endif %}{{ eos_token }}");
  const Json unsure = assistant("I think|Here.");
  talks({user("Where?"), unsure, user("Who?"), unsure, user("Why?"), assistant("So.")});
  expect_two(10);

  assistant_template(" {{ message.content }}{{ eos_token if message.content != 'Never.' }}\n");
  talks({user("Where?"), assistant("Never."), user("Who?"), assistant("Never.")});
  expect_two(3);
}

// With --truncation_mode split rows are several documents, and both are said.
TEST_F(ThirtyFaults, RowsAndDocumentsAreToldApart) {
  std::string words;
  for (int i = 0; i < 30; ++i) words += " and Ines";
  rows(Json{{"text", "Ines."}}.dump() + "\n" + Json{{"text", words}}.dump() + "\n");
  const Arguments split = {"--max_length", "32", "--truncation_mode", "split"};
  const Json json = check(split);
  EXPECT_EQ(json["dataset"]["rows"], 2);
  const int64_t documents = json["dataset"]["documents"];
  EXPECT_GE(documents, 3);
  const std::string said = fmt::format("dataset: 2 rows in {} documents, ", documents);
  const std::string out = output_of(joined(joined({"check"}, data_arguments()), split));
  EXPECT_NE(out.find(said), std::string::npos) << out;
}

TEST_F(ThirtyFaults, F13_PackingDoesNotLeak) {
  train({"--max_length", "256"}, "alone");
  train({"--max_length", "256", "--packing", "true", "--per_device_train_batch_size", "1"},
        "packed");
  const double alone = metrics("alone")[0]["loss"], packed = metrics("packed")[0]["loss"];
  EXPECT_NEAR(packed, alone, 1e-5 * alone);
}

TEST_F(ThirtyFaults, F14_AccumulationWeighsAlike) {
  train({}, "batch");
  train({"--per_device_train_batch_size", "1", "--gradient_accumulation_steps", "4"}, "parts");
  for (const char* what : {"loss", "grad_norm"}) {
    const double batch = metrics("batch")[0][what], parts = metrics("parts")[0][what];
    EXPECT_NEAR(parts, batch, 1e-5 * batch) << what;
  }
}

TEST_F(ThirtyFaults, F15_SeveralDevicesAreRefused) {
  expect_failure_of_train("device", {"--device", "cuda:0,cuda:1"});
}

TEST_F(ThirtyFaults, F16_NothingFiniteIsHidden) {
  expect_failure_of_train("diverged", {"--learning_rate", "1e30"});
}

TEST_F(ThirtyFaults, F17_Float16ForABfloat16Model) {
  expect_verdict(17, "warning", {"--bnb_4bit_compute_dtype", "float16"});
}

TEST_F(ThirtyFaults, F18_MergeIntoAnotherBase) {
  train();
  zero_rows("model.layers.0.mlp.down_proj.weight", 0, 8);
  const ProgramResult result =
      run_program({"merge", "--model_name_or_path", model_.string(), "--adapter",
                   (folder_ / "run/adapter").string(), "--output_dir",
                   (folder_ / "merged").string(), "--compare_prompts", "1"});
  EXPECT_NE((result.out + result.err).find("another base"), std::string::npos)
      << result.out << result.err;
}

TEST_F(ThirtyFaults, F19_TiedHeadStaysTied) {
  train();
  output_of({"merge", "--model_name_or_path", model_.string(), "--adapter",
             (folder_ / "run/adapter").string(), "--output_dir", (folder_ / "merged").string(),
             "--compare_prompts", "0"});
  EXPECT_EQ(Json::parse(read_file(folder_ / "merged/config.json"))["tie_word_embeddings"], true);
  EXPECT_EQ(read_file(folder_ / "merged/model.safetensors").find("lm_head"), std::string::npos);
  expect_failure_of_train("modules_to_save", {"--modules_to_save", "lm_head"});
}

TEST_F(ThirtyFaults, F20_ATargetThatMatchesNothing) {
  expect_verdict(20, "FAILED", {"--lora_target_modules", "q_proj,lm_head"});
}

TEST_F(ThirtyFaults, F21_AnEmptyAdapterIsRefused) {
  train();
  const fs::path file = folder_ / "run/adapter/adapter_model.safetensors";
  fs::resize_file(file, 40);
  const ProgramResult result = run_program(
      joined({"eval", "--adapter", (folder_ / "run/adapter").string()}, data_arguments()));
  EXPECT_EQ(result.exit_code, 66);
  EXPECT_NE(result.err.find("adapter_model.safetensors"), std::string::npos) << result.err;
}

TEST_F(ThirtyFaults, F22_AnAdapterUnderOtherNamesIsRefused) {
  train();
  const fs::path file = folder_ / "run/adapter/adapter_model.safetensors";
  std::string bytes = read_file(file);
  for (size_t at = 0; (at = bytes.find("model.layers", at)) != std::string::npos; at += 12)
    bytes.replace(at, 12, "model_layers");
  write_file(file, bytes);
  const ProgramResult result = run_program(
      joined({"eval", "--adapter", (folder_ / "run/adapter").string()}, data_arguments()));
  EXPECT_EQ(result.exit_code, 66);
  EXPECT_NE(result.err.find("no lora_A for model.layers.0"), std::string::npos) << result.err;
}

TEST_F(ThirtyFaults, F23_NoGradient) {
  zero_rows("model.layers.0.input_layernorm.weight", 0, 256);
  expect_failure_of_train("no gradient", {"--layers_to_transform", "0"});
}

TEST_F(ThirtyFaults, F24_RopeGoesByDocument) {
  const fs::path longrope = model_with_tokenizer("phi4mini", folder_.path());
  const int64_t threshold =
      Json::parse(read_file(longrope / "config.json"))["original_max_position_embeddings"];
  std::string words;
  for (int64_t i = 0; i < 2 * threshold; ++i) words += " the cat sat";
  rows(Json{{"text", "the cat"}}.dump() + "\n" + Json{{"text", words}}.dump() + "\n");
  model_ = longrope;
  expect_verdict(24, "note", {"--max_length", "100000"});
}

TEST_F(ThirtyFaults, F25_TokenizerIsCopiedByteForByte) {
  train();
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"})
    EXPECT_EQ(read_file(folder_ / "run/adapter" / name), read_file(model_ / name)) << name;
}

TEST_F(ThirtyFaults, F26_ContentSpellsAControlToken) {
  conversations({{user(std::string("Where? ") + eos + " Now."), assistant("Here.")}});
  expect_verdict(26, "warning");
  const Json as_tokens = check({"--split_special_tokens", "false"});
  EXPECT_GT(check()["dataset"]["tokens"], as_tokens["dataset"]["tokens"]);
}

TEST_F(ThirtyFaults, F27_AResumedRunIsTheSameRun) {
  train();
  const ProgramResult result =
      run_program(joined(train_arguments(), {"--resume_from_checkpoint", "true", "--seed", "7"}));
  EXPECT_EQ(result.exit_code, 64);
  EXPECT_NE(result.err.find("seed"), std::string::npos) << result.err;
}

TEST_F(ThirtyFaults, F28_TheLastStepIsSaved) {
  train({"--save_steps", "2"});
  const Json state = Json::parse(read_file(folder_ / "run/checkpoint-3/trainer_state.json"));
  EXPECT_EQ(state["global_step"], 3);
}

TEST_F(ThirtyFaults, F29_TheFolderNamesNoEnd) {
  write_file(model_ / "tokenizer_config.json", R"({"bos_token": "<|begin_of_text|>"})");
  fs::remove(model_ / "generation_config.json");
  Json config = Json::parse(read_file(model_ / "config.json"));
  config.erase("eos_token_id");
  write_file(model_ / "config.json", config.dump());
  expect_failure_of_train("end-of-text token");
}

TEST_F(ThirtyFaults, F30_TwoRunsInOneFolder) {
  Program first(joined(train_arguments(), {"--max_steps", "100000"}));
  ASSERT_TRUE(first.wait_for("step"));
  const ProgramResult second = run_program(train_arguments());
  EXPECT_EQ(second.exit_code, 73) << second.err;
  first.send(SIGTERM);
  first.finish();
}

}  // namespace
}  // namespace nibble::test
