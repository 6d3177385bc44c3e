// One table of options for command line and YAML: spelling, precedence, help.
#include <gtest/gtest.h>

#include "cli/train_options.h"
#include "core/error.h"
#include "support/data.h"

namespace nibble::test {
namespace {

TrainOptions parse(std::vector<std::string> arguments) {
  TrainOptions options;
  cli::OptionTable table("train", "");
  cli::add_training_options(table, options);
  EXPECT_TRUE(table.parse(std::move(arguments)));
  return options;
}

std::string refusal(std::vector<std::string> arguments) {
  try {
    parse(std::move(arguments));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    return error.what();
  }
  return "accepted";
}

TEST(Options, UnderscoreHyphenAndEqualsAreTheSame) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"--learning_rate", "1e-3"}, {"--learning-rate", "1e-3"}, {"--learning-rate=1e-3"}})
    EXPECT_EQ(parse(arguments).learning_rate, 1e-3);
}

TEST(Options, BooleansAloneAndWithValue) {
  EXPECT_TRUE(parse({"--overwrite_output_dir"}).overwrite_output_dir);
  EXPECT_TRUE(parse({"--overwrite_output_dir", "--seed", "1"}).overwrite_output_dir);
  for (const char* no : {"false", "False"})
    EXPECT_FALSE(parse({"--load_in_4bit", no}).load_in_4bit);
}

TEST(Options, ListsAndMaps) {
  const TrainOptions options =
      parse({"--lora_target_modules", "q_proj,v_proj", "up_proj", "--rank_pattern",
             R"({"q_proj": 8})", "--layers_to_transform", "0,3"});
  EXPECT_EQ(options.lora.target_modules, (std::vector<std::string>{"q_proj", "v_proj", "up_proj"}));
  EXPECT_TRUE(options.lora.target_regex.empty());
  EXPECT_EQ(options.lora.rank_pattern, (std::map<std::string, uint64_t>{{"q_proj", 8}}));
  EXPECT_EQ(*options.lora.layers_to_transform, (std::vector<uint64_t>{0, 3}));
  EXPECT_EQ(parse({"--lora_target_modules", ".*q_proj"}).lora.target_regex, ".*q_proj");
  EXPECT_EQ(parse({"--lora_target_modules", "all-linear"}).lora.target_regex, "all-linear");
  EXPECT_EQ(parse({}).lora.target_regex, "all-linear");
}

TEST(Options, YamlHasTheSameNamesAndYieldsToTheCommandLine) {
  const TempDir folder;
  write_file(folder / "run.yaml",
             "learning-rate: 5e-4\nlora_r: 4\nload_in_4bit: false\n"
             "lora_target_modules: [q_proj, k_proj]\nrank_pattern: {q_proj: 2}\n"
             "gradient_checkpointing: none\nmax_steps:\n");
  const std::string path = (folder / "run.yaml").string();
  const TrainOptions options = parse({"--lora_r", "32", "--config", path});
  EXPECT_EQ(options.learning_rate, 5e-4);
  EXPECT_EQ(options.lora.r, 32u);
  EXPECT_FALSE(options.load_in_4bit);
  EXPECT_EQ(options.lora.target_modules, (std::vector<std::string>{"q_proj", "k_proj"}));
  EXPECT_EQ(options.lora.rank_pattern, (std::map<std::string, uint64_t>{{"q_proj", 2}}));
  EXPECT_EQ(options.gradient_checkpointing, 0);
  EXPECT_EQ(options.max_steps, -1);  // no value: the default
  EXPECT_EQ(parse({"--config", path, "--lora_target_modules", "v_proj"}).lora.target_modules,
            std::vector<std::string>{"v_proj"});
}

TEST(Options, MistakesNameTheOptionAndTheNearest) {
  EXPECT_NE(refusal({"--lora_dropuot", "0"}).find("did you mean lora_dropout?"), std::string::npos);
  EXPECT_NE(refusal({"--optim", "adam"}).find("did you mean adamw?"), std::string::npos);
  EXPECT_NE(refusal({"--max_steps", "1.5"}).find("max_steps"), std::string::npos);
  EXPECT_NE(refusal({"--gradient_checkpointing", "some"}).find("gradient_checkpointing"),
            std::string::npos);
  EXPECT_NE(refusal({"--layers_to_transform", "-1"}).find("layers_to_transform"),
            std::string::npos);
  EXPECT_NE(refusal({"stray"}), "accepted");
  const TempDir folder;
  write_file(folder / "twice.yaml", "lora_r: 4\nr: 8\n");
  EXPECT_NE(refusal({"--config", (folder / "twice.yaml").string()}).find("given twice"),
            std::string::npos);
  write_file(folder / "list.yaml", "- a\n");
  EXPECT_NE(refusal({"--config", (folder / "list.yaml").string()}), "accepted");
}

}  // namespace
}  // namespace nibble::test
