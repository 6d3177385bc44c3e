// nibble inspect: sizes against the files themselves, trainable counts against PEFT.
#include <gtest/gtest.h>

#include "files/model_dir.h"
#include "support/commands.h"

namespace nibble::test {
namespace {

TEST(Inspect, PrintsTheTrainableLineOfPeft) {
  const nlohmann::json goldens = command_goldens();
  for (const auto& expected : goldens.at("trainable")) {
    const auto& options = expected.at("options");
    std::vector<std::string> arguments = {
        "inspect", golden("models/" + expected.at("model").get<std::string>()).string(), "--lora_r",
        std::to_string(options.at("r").get<int>()), "--lora_target_modules"};
    if (options.at("target_modules").is_string())
      arguments.push_back(options.at("target_modules").get<std::string>());
    else
      for (const auto& name : options.at("target_modules"))
        arguments.push_back(name.get<std::string>());
    if (options.contains("rank_pattern"))
      arguments = joined(arguments, {"--rank_pattern", options.at("rank_pattern").dump()});
    const std::string line = expected.at("line").get<std::string>();
    EXPECT_NE(output_of(arguments).find(line), std::string::npos) << line;
    EXPECT_EQ(json_of(joined(arguments, {"--json"})).at("trainable_line"), line);
  }
}

TEST(Inspect, CountsWhatTheFilesHold) {
  for (const char* name : {"llama3", "llama3_sharded", "phi4mini", "qwen2_f16", "qwen3"}) {
    SCOPED_TRACE(name);
    const ModelDir dir(golden("models") / name);
    uint64_t elements = 0;
    for (const std::string& tensor : dir.names())
      elements += dir.info(tensor).bytes / size_of(dir.info(tensor).dtype);
    const auto json = json_of({"inspect", dir.path().string(), "--json"});
    EXPECT_EQ(json.at("parameters"), elements);
    EXPECT_EQ(json.at("stored_bytes"), dir.total_bytes());
  }
}

// 4-bit codes and scales, by the tensors that bitsandbytes itself wrote.
TEST(Inspect, CountsTheBytesOfQuantizedWeights) {
  const ModelDir dir(golden("models/bnb_llama"));
  int64_t expected = 0;
  for (const std::string& name : dir.names()) {
    const bool state = name.find("quant_state") != std::string::npos;
    if (state) expected += 4;  // nested_offset
    const bool table = name.ends_with("quant_map") || state;
    const bool quantized = dir.info(name).dtype == DType::u8 || name.ends_with("nested_absmax");
    if (quantized && !table) expected += static_cast<int64_t>(dir.info(name).bytes);
  }
  const auto json = json_of({"inspect", dir.path().string(), "--json"});
  EXPECT_EQ(json.at("quantized_linear_bytes"), expected);
  EXPECT_EQ(json.at("prequantized"), true);
}

TEST(Inspect, TakesAConfigWithoutWeights) {
  NIBBLE_NEEDS_SHARED_DATA();
  // Published parameter counts.
  const std::map<std::string, int64_t> counts = {{"Llama-3.1-8B-Instruct", 8'030'261'248},
                                                 {"Mistral-7B-Instruct-v0.3", 7'248'023'552},
                                                 {"Qwen2.5-7B-Instruct", 7'615'616'512},
                                                 {"Qwen3-8B", 8'190'735'360},
                                                 {"SmolLM2-135M", 134'515'008},
                                                 {"phi-4", 14'659'507'200}};
  for (const auto& [name, count] : counts) {
    const auto json =
        json_of({"inspect", (shared_data() / "configs" / (name + ".json")).string(), "--json"});
    EXPECT_EQ(json.at("parameters"), count) << name;
    EXPECT_NEAR(json.at("bits_per_weight").get<double>(), 4.12695, 1e-4) << name;
  }
}

TEST(Inspect, RefusesWhatIsNoModel) {
  expect_failure({"inspect", "/nowhere/at/all"}, 66, "neither a folder nor a config.json");
  expect_failure({"inspect"}, 64, "model_name_or_path is missing");
  expect_failure({"inspect", golden("models/llama3").string(), "--lora_target_modules", "c_attn"},
                 64, "\"c_attn\" matches no linear layer");
}

}  // namespace
}  // namespace nibble::test
