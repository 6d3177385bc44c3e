// What a user gets wrong, one table: the exit code, one message that says who, what and what to do,
// and nothing of before lost.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <nlohmann/json.hpp>

#include "support/data.h"
#include "support/demo_run.h"
#include "support/program.h"

namespace nibble::test {
namespace {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;

Arguments plus(Arguments arguments, const Arguments& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

// A copy of the demo's model that a test may damage.
fs::path copied_model(const fs::path& folder) {
  fs::copy(demo_model(), folder / "model", fs::copy_options::recursive);
  return folder / "model";
}

void edit_config(const fs::path& model, const std::function<void(nlohmann::json&)>& edit) {
  nlohmann::json config = nlohmann::json::parse(read_file(model / "config.json"));
  edit(config);
  write_file(model / "config.json", config.dump());
}

// Overwrites the middle of the weights with the bfloat16 value `bits`, four times over.
void damage_weights(const fs::path& model, uint16_t bits) {
  std::string bytes = read_file(model / "model.safetensors");
  const size_t at = bytes.size() / 2 / 2 * 2;
  for (size_t i = 0; i < 8; i += 2) {
    // The data starts at a multiple of 8, so even places are where values start.
    bytes[at + i] = static_cast<char>(bits & 0xff);
    bytes[at + i + 1] = static_cast<char>(bits >> 8);
  }
  write_file(model / "model.safetensors", bytes);
}

struct Case {
  const char* name;
  int exit_code;
  Arguments words;  // all in the message
  // Prepares `folder`, which has dataset.jsonl, and returns further arguments.
  std::function<Arguments(const fs::path& folder)> prepare;
};

Arguments model_argument(const fs::path& model) { return {"--model_name_or_path", model.string()}; }

std::vector<Case> cases() {
  return {
      {"missing model folder",
       66,
       {"model_name_or_path", "nowhere", "give the folder"},
       [](const fs::path& f) { return model_argument(f / "nowhere"); }},
      {"missing dataset",
       66,
       {"dataset", "none.jsonl", "no such file"},
       [](const fs::path& f) {
         return Arguments{"--dataset", (f / "none.jsonl").string()};
       }},
      {"truncated weights",
       66,
       {"model.safetensors"},
       [](const fs::path& f) {
         const fs::path model = copied_model(f);
         const fs::path file = model / "model.safetensors";
         fs::resize_file(file, fs::file_size(file) - 1000);
         return model_argument(model);
       }},
      {"wrong shapes",
       66,
       {"expected"},
       [](const fs::path& f) {
         const fs::path model = copied_model(f);
         edit_config(model, [](nlohmann::json& c) { c["intermediate_size"] = 512; });
         return model_argument(model);
       }},
      {"missing tensor",
       66,
       {"model.layers.4"},
       [](const fs::path& f) {
         const fs::path model = copied_model(f);
         edit_config(model, [](nlohmann::json& c) { c["num_hidden_layers"] = 5; });
         return model_argument(model);
       }},
      {"unknown family",
       66,
       {"model_type", "mamba"},
       [](const fs::path& f) {
         const fs::path model = copied_model(f);
         edit_config(model, [](nlohmann::json& c) { c["model_type"] = "mamba"; });
         return model_argument(model);
       }},
      {"unknown config field",
       66,
       {"flux_capacitor", "ignore_config_fields"},
       [](const fs::path& f) {
         const fs::path model = copied_model(f);
         edit_config(model, [](nlohmann::json& c) { c["flux_capacitor"] = 1.21; });
         return model_argument(model);
       }},
      {"no tokenizer",
       66,
       {"tokenizer.json"},
       [](const fs::path& f) {
         const fs::path model = copied_model(f);
         fs::remove(model / "tokenizer.json");
         return model_argument(model);
       }},
      {"empty dataset",
       66,
       {"empty.jsonl", "no rows"},
       [](const fs::path& f) {
         write_file(f / "empty.jsonl", "");
         return Arguments{"--dataset", (f / "empty.jsonl").string()};
       }},
      {"row without text",
       66,
       {"bad.jsonl", "row 2 (byte 14)", "content", "expected those of one form: text"},
       [](const fs::path& f) {
         write_file(f / "bad.jsonl", "{\"text\": \"a\"}\n{\"content\": \"b\"}\n");
         return Arguments{"--dataset", (f / "bad.jsonl").string()};
       }},
      {"NaN in the weights",
       66,
       {"model.layers.", "NaN"},
       [](const fs::path& f) {
         const fs::path model = copied_model(f);
         damage_weights(model, 0x7fc0);
         return model_argument(model);
       }},
      {"infinity in the weights",
       66,
       {"model.layers."},
       [](const fs::path& f) {
         const fs::path model = copied_model(f);
         damage_weights(model, 0xff80);
         return model_argument(model);
       }},
      {"diverging learning rate",
       65,
       {"step 2", "diverged", "lower learning_rate"},
       [](const fs::path&) {
         return Arguments{"--learning_rate", "1e30"};
       }},
      {"unknown option",
       64,
       {"--learning_rat", "did you mean learning_rate?"},
       [](const fs::path&) {
         return Arguments{"--learning_rat", "1"};
       }},
      {"unknown YAML key",
       64,
       {"config.yaml", "lora_rr", "did you mean lora_r?"},
       [](const fs::path& f) {
         write_file(f / "config.yaml", "lora_rr: 4\n");
         return Arguments{"--config", (f / "config.yaml").string()};
       }},
      {"YAML that is none",
       64,
       {"config.yaml"},
       [](const fs::path& f) {
         write_file(f / "config.yaml", "a: [1, 2\nb: }");
         return Arguments{"--config", (f / "config.yaml").string()};
       }},
      {"missing YAML",
       64,
       {"none.yaml", "no such file"},
       [](const fs::path& f) {
         return Arguments{"--config", (f / "none.yaml").string()};
       }},
      {"value out of range",
       64,
       {"lora_dropout", "1.5", "[0, 1)"},
       [](const fs::path&) {
         return Arguments{"--lora_dropout", "1.5"};
       }},
      {"value of another type",
       64,
       {"max_steps", "many"},
       [](const fs::path&) {
         return Arguments{"--max_steps", "many"};
       }},
      {"unknown choice",
       64,
       {"lr_scheduler_type", "cosin", "did you mean cosine?"},
       [](const fs::path&) {
         return Arguments{"--lr_scheduler_type", "cosin"};
       }},
      {"unmatched target module",
       64,
       {"lora_target_modules", "query_proj", "q_proj, k_proj"},
       [](const fs::path&) {
         return Arguments{"--lora_target_modules", "q_proj,query_proj"};
       }},
      {"rank that is no whole number",
       64,
       {"rank_pattern", "8.5"},
       [](const fs::path&) {
         return Arguments{"--rank_pattern", "{\"q_proj\": 8.5}"};
       }},
      {"rank_pattern that is no JSON",
       64,
       {"rank_pattern"},
       [](const fs::path&) {
         return Arguments{"--rank_pattern", "{q_proj: "};
       }},
  };
}

// One message, of one line where lists do not need more, and nothing else on stderr.
void expect_message(const ProgramResult& result, const Arguments& words) {
  EXPECT_TRUE(result.err.starts_with("nibble: ")) << result.err;
  EXPECT_EQ(result.err.find("nibble: ", 1), std::string::npos) << result.err;
  EXPECT_TRUE(result.err.ends_with("\n"));
  for (const std::string& word : words)
    EXPECT_NE(result.err.find(word), std::string::npos)
        << "no \"" << word << "\" in " << result.err;
}

TEST(BadInput, CodeAndMessage) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    const TempDir folder;
    const Arguments arguments = demo_arguments(folder.path());
    const ProgramResult result = run_program(plus(arguments, c.prepare(folder.path())));
    EXPECT_EQ(result.exit_code, c.exit_code) << "signal " << result.signal << " " << result.err;
    expect_message(result, c.words);
    EXPECT_FALSE(fs::exists(folder / "run/adapter"));
  }
}

// An earlier run's folder with an adapter and a checkpoint.
class EarlierRun : public testing::Test {
 protected:
  void SetUp() override {
    arguments_ = plus(demo_arguments(folder_.path()), {"--max_steps", "2"});
    const ProgramResult result = run_program(arguments_);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    before_ = snapshot(run_);
    ASSERT_TRUE(before_.contains("adapter/adapter_model.safetensors"));
    ASSERT_TRUE(before_.contains("checkpoint-2/adapter_model.safetensors"));
  }
  TempDir folder_;
  fs::path run_ = folder_ / "run";
  Arguments arguments_;
  std::map<std::string, std::string> before_;
};

TEST_F(EarlierRun, IsRefused) {
  const ProgramResult result = run_program(arguments_);
  EXPECT_EQ(result.exit_code, 64);
  expect_message(result, {run_.string(), "--overwrite_output_dir", "--resume_from_checkpoint"});
  EXPECT_TRUE(snapshot(run_) == before_);
}

// What is wrong with model, data and options shows before anything of an old run is deleted.
TEST_F(EarlierRun, SurvivesBadInputEvenWhenToBeOverwritten) {
  for (const Case& c : cases()) {
    if (c.exit_code == 65) continue;  // shows only while training
    SCOPED_TRACE(c.name);
    const TempDir other;
    const ProgramResult result = run_program(
        plus(plus(arguments_, c.prepare(other.path())), {"--overwrite_output_dir", "true"}));
    EXPECT_EQ(result.exit_code, c.exit_code) << result.err;
    ASSERT_TRUE(snapshot(run_) == before_);
  }
}

// A full disk (here: a limit on the size of a file) while the checkpoint is written.
TEST_F(EarlierRun, SurvivesAFullDisk) {
  const ProgramResult resumed = run_program(
      plus(arguments_, {"--resume_from_checkpoint", "true", "--max_steps", "2"}), 64 << 10);
  EXPECT_EQ(resumed.exit_code, 74) << "signal " << resumed.signal << " " << resumed.err;
  EXPECT_TRUE(resumed.err.starts_with("nibble: ")) << resumed.err;
  EXPECT_TRUE(snapshot(run_) == before_);
}

TEST(FullDisk, LastSaveDecidesTheExitCode) {
  const TempDir folder;
  const ProgramResult result = run_program(
      plus(demo_arguments(folder.path()), {"--max_steps", "3", "--save_steps", "1"}), 64 << 10);
  EXPECT_EQ(result.exit_code, 74) << "signal " << result.signal << " " << result.err;
  expect_message(result, {(folder / "run").string()});
  // A failed save does not stop the training: all three steps were made, and said so.
  EXPECT_NE(result.out.find("checkpoint of step 1 was not saved"), std::string::npos) << result.out;
  EXPECT_EQ(timeless_metrics(folder / "run").size(), 3u);
  for (const auto& [name, bytes] : snapshot(folder / "run"))
    EXPECT_EQ(name, "metrics.jsonl");  // nothing half-written is left
}

}  // namespace
}  // namespace nibble::test
