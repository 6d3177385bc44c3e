// Which modules get an adapter, against PEFT itself (tools/make_lora_goldens.py).
#include "lora/targets.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "files/json.h"
#include "support/data.h"
#include "transformer/model.h"
#include "transformer/weights.h"

namespace nibble::test {
namespace {

std::vector<LoraModule> llama_modules() {
  return lora_modules(ModelSource::open(golden("models/llama3").string()).spec);
}

// A LoraConfig of PEFT as Nibble's.
AdapterConfig config_of(const nlohmann::json& json) {
  nlohmann::json whole = json;
  whole["peft_type"] = "LORA";
  whole["task_type"] = "CAUSAL_LM";
  std::vector<std::string> warnings;
  return adapter_config_from_json(whole, "case", warnings);
}

TEST(Targets, AreThoseOfPeft) {
  const std::vector<LoraModule> modules = llama_modules();
  const nlohmann::json goldens = read_json_file(golden("lora/targets.json"), "targets.json");
  ASSERT_GE(goldens.at("cases").size(), 12u);
  for (const auto& [name, golden_case] : goldens.at("cases").items()) {
    SCOPED_TRACE(name);
    const LoraTargets targets = match_targets(config_of(golden_case.at("config")), modules);
    const nlohmann::json& expected = golden_case.at("modules");
    size_t adapted = 0;
    for (size_t i = 0; i < modules.size(); ++i) {
      const LoraTarget& target = targets.modules[i];
      const auto found = expected.find(modules[i].path);
      EXPECT_EQ(target.rank, found == expected.end() ? 0 : found->at(0).get<int64_t>())
          << modules[i].path;
      if (found == expected.end()) continue;
      ++adapted;
      EXPECT_FLOAT_EQ(target.scaling, found->at(1).get<float>()) << modules[i].path;
    }
    EXPECT_EQ(adapted, expected.size());
  }
}

TEST(Targets, CountMatchesByName) {
  AdapterConfig config;
  config.target_modules = {"q_proj", "mlp.up_proj", "model.layers.1.mlp.down_proj"};
  const LoraTargets targets = match_targets(config, llama_modules());
  EXPECT_EQ(targets.match_counts,
            (std::map<std::string, int64_t>{
                {"q_proj", 2}, {"mlp.up_proj", 2}, {"model.layers.1.mlp.down_proj", 1}}));
}

TEST(Targets, WhatMatchesNothingIsAnError) {
  using Change = void (*)(AdapterConfig&);
  const std::vector<std::pair<std::string, Change>> cases = {
      {"\"query\" matches no linear layer",
       [](auto& c) {
         c.target_modules = {"q_proj", "query"};
       }},
      {"\"proj\"", [](auto& c) { c.target_modules = {"proj"}; }},  // a suffix, but not after a dot
      {"does not adapt embeddings",
       [](auto& c) {
         c.target_modules = {"q_proj", "lm_head"};
       }},
      {"q_proj", [](auto& c) { c.target_regex = "q_proj"; }},  // not the full path
      {"lora_target_modules", [](auto& c) { c.target_regex = "((unclosed"; }},
      {"no layer 2",
       [](auto& c) {
         c.target_modules = {"q_proj"};
         c.layers_to_transform = std::vector<uint64_t>{0, 2};
       }},
      {"rank_pattern: \"down\"",
       [](auto& c) {
         c.target_modules = {"q_proj"};
         c.rank_pattern = {{"down", 4}};
       }},
      {"alpha_pattern: \"up_proj\"",
       [](auto& c) {  // exists, but is not adapted
         c.target_modules = {"q_proj"};
         c.alpha_pattern = {{"up_proj", 4}};
       }},
      {"no module is left",
       [](auto& c) {
         c.target_modules = {"q_proj"};
         c.exclude_modules = {"q_proj"};
       }},
      {"", [](auto&) {}},  // nothing asked for
  };
  for (const auto& [words, change] : cases) {
    SCOPED_TRACE(words);
    AdapterConfig config;
    change(config);
    try {
      match_targets(config, llama_modules());
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
      EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    }
  }
}

// A pattern made to backtrack for ever is stopped.
TEST(Targets, CatastrophicRegexEnds) {
  AdapterConfig config;
  config.target_regex = "(([a-z_.0-9]*)*)*!";
  EXPECT_THROW(match_targets(config, llama_modules()), Error);
}

// PEFT's print_trainable_parameters for r = 16 on all linears of Llama-2-7B-shaped counts.
TEST(Targets, TrainableLine) {
  EXPECT_EQ(trainable_line(23068672, 3836021760),
            "trainable params: 23,068,672 || all params: 3,859,090,432 || trainable%: 0.5978");
  EXPECT_EQ(with_separators(0), "0");
  EXPECT_EQ(with_separators(999), "999");
  EXPECT_EQ(with_separators(1000), "1,000");
  EXPECT_EQ(with_separators(-1234567), "-1,234,567");
}

}  // namespace
}  // namespace nibble::test
