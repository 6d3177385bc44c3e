// nibble generate: greedy text against transformers, and the real model's published text.
#include <gtest/gtest.h>

#include "support/commands.h"

namespace nibble::test {
namespace {

std::vector<std::string> generate(const std::filesystem::path& model,
                                  const std::vector<std::string>& more) {
  return joined({"generate", "--model_name_or_path", model.string()}, more);
}

const std::vector<std::string> in_float32 = {"--load_in_4bit", "false", "--bnb_4bit_compute_dtype",
                                             "float32"};

TEST(Generate, GreedyTextEqualsThatOfTransformers) {
  const TempDir folder;
  std::map<std::string, std::filesystem::path> folders;
  const nlohmann::json goldens = command_goldens();
  for (const auto& expected : goldens.at("generate")) {
    const std::string name = expected.at("model").get<std::string>();
    if (!folders.contains(name)) folders[name] = model_with_tokenizer(name, folder.path());
    // Float32 forwards differ by less than 1e-4 of the logits, which are below 10 here.
    ASSERT_GT(expected.at("least_gap").get<double>(), 1e-3);
    EXPECT_EQ(output_of(joined(generate(folders[name], {"--max_new_tokens", "24", "--prompt",
                                                        expected.at("prompt").get<std::string>()}),
                               in_float32)),
              expected.at("text").get<std::string>() + "\n")
        << name << " after " << expected.at("prompt");
  }
}

TEST(Generate, TheRealModelTellsItsStory) {
  NIBBLE_NEEDS_SHARED_DATA();
  const auto model = shared_data() / "models" / "tinystories-260k";
  const auto arguments = generate(model, {"--prompt", "", "--max_new_tokens", "200"});
  EXPECT_EQ(output_of(joined(arguments, in_float32)),
            read_file(model / "expected_greedy_200.txt") + "\n");
  // In 4 bits it tells another, which begins as all of them do.
  EXPECT_TRUE(output_of(arguments).starts_with("Once upon a time")) << output_of(arguments);
}

TEST(Generate, SamplingIsReproducibleBySeed) {
  const TempDir folder;
  const auto model = model_with_tokenizer("llama3", folder.path());
  const auto text = [&](const std::string& seed, const std::string& top_p) {
    return output_of(generate(model, {"--prompt", "the cat", "--temperature", "1.5", "--top_p",
                                      top_p, "--seed", seed, "--max_new_tokens", "24"}));
  };
  EXPECT_EQ(text("1", "0.9"), text("1", "0.9"));
  EXPECT_NE(text("1", "0.9"), text("2", "0.9"));
  EXPECT_NE(text("1", "1"), text("2", "1"));
  // So small a nucleus holds one token: greedy.
  EXPECT_EQ(text("1", "0.0001"), text("2", "0.0001"));
  EXPECT_EQ(text("1", "0.0001"),
            output_of(generate(model, {"--prompt", "the cat", "--max_new_tokens", "24"})));
}

TEST(Generate, SaysHowFastItWasWhereAsked) {
  const TempDir folder;
  const auto arguments = generate(model_with_tokenizer("llama3", folder.path()),
                                  {"--prompt", "the cat", "--max_new_tokens", "5"});
  const ProgramResult plain = run_program(arguments);
  const ProgramResult timed = run_program(joined(arguments, {"--timings"}));
  EXPECT_EQ(plain.err, "");
  EXPECT_EQ(timed.out, plain.out);
  EXPECT_TRUE(timed.err.starts_with("5 tokens, after the first ")) << timed.err;
  EXPECT_TRUE(timed.err.ends_with(" tokens/s\n")) << timed.err;
}

TEST(Generate, StopsAtTheModelsPositions) {
  const TempDir folder;
  const auto model = model_with_tokenizer("qwen3", folder.path());
  // Greedy it repeats "w", one token, for ever; the model has 128 positions and the prompt 6.
  const auto prompt =
      json_of({"tokenize", "--model_name_or_path", model.string(), "--text", "the cat", "--json"})
          .at("ids")
          .size();
  EXPECT_EQ(output_of(joined(generate(model, {"--prompt", "the cat", "--max_new_tokens", "1000"}),
                             in_float32)),
            std::string(128 - prompt, 'w') + "\n");
}

TEST(Generate, AnAdapterChangesTheText) {
  const TempDir folder;
  const auto model = model_with_tokenizer("llama_rslora", folder.path());
  const auto arguments = generate(model, {"--prompt", "the cat"});
  EXPECT_NE(
      output_of(arguments),
      output_of(joined(arguments, {"--adapter", golden("models/llama_rslora/adapter").string()})));
}

TEST(Generate, RefusesWhatItCannotDo) {
  const TempDir folder;
  const auto model = model_with_tokenizer("llama3", folder.path());
  expect_failure(generate(model, {"--temperature", "-1"}), 64, "temperature: got -1");
  expect_failure(generate(model, {"--top_p", "0"}), 64, "top_p: got 0");
  expect_failure(generate(model, {"--max_new_tokens", "0"}), 64, "max_new_tokens: got 0");
  expect_failure(generate(model, {"--prompt", std::string(400, 'q')}), 64, "leave no room");
  expect_failure(generate(model, {"--top_k", "4"}), 64, "top_p");  // suggests the nearest
}

}  // namespace
}  // namespace nibble::test
