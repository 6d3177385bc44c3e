// config.json -> ModelSpec: both layouts, real models, and every field that must be refused.
#include "transformer/model_spec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "core/error.h"
#include "files/json.h"
#include "files/safetensors.h"
#include "support/data.h"
#include "support/golden_model.h"

namespace nibble::test {
namespace {

using Json = nlohmann::json;

Json llama() {
  return Json::parse(R"({"model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
    "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16"})");
}

void expect_refused(const Json& config, const std::string& named) {
  try {
    model_spec_from_config(config);
    ADD_FAILURE() << "accepted: " << config.dump();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::bad_input);
    EXPECT_NE(std::string(error.what()).find(named), std::string::npos) << error.what();
  }
}

class BothLayouts : public testing::TestWithParam<std::string> {};

TEST_P(BothLayouts, AreTheSameModel) {
  const auto folder = golden("models") / GetParam();
  const ModelSpec a = model_spec_from_config(read_json_file(folder / "config.json", "classic"));
  const ModelSpec b =
      model_spec_from_config(read_json_file(folder / "config.transformers5.json", "new"));
  EXPECT_EQ(a.rope.inverse_frequencies, b.rope.inverse_frequencies);
  EXPECT_EQ(a.rope.factor, b.rope.factor);
  EXPECT_EQ(a.rope.long_threshold, b.rope.long_threshold);
  EXPECT_EQ(a.windows, b.windows);
  EXPECT_EQ(a.parameters(), b.parameters());
  EXPECT_EQ(a.tied_head, b.tied_head);
  EXPECT_EQ(a.rms_norm_eps, b.rms_norm_eps);
}

std::vector<std::string> cases_with_both_layouts() {
  std::vector<std::string> names;
  for (const std::string& name : golden_cases())
    if (std::filesystem::exists(golden("models") / name / "config.transformers5.json"))
      names.push_back(name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Cases, BothLayouts, testing::ValuesIn(cases_with_both_layouts()),
                         [](const auto& test) { return test.param; });

TEST(ModelSpec, RefusesSizesOutOfRange) {
  const std::vector<Json> bad = {Json(1e18),   Json(-1),      Json("4096"),
                                 Json(4096.5), Json(nullptr), Json(0)};
  for (const char* field : {"hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size",
                            "intermediate_size"})
    for (const Json& value : bad) {
      Json config = llama();
      config[field] = value;
      expect_refused(config, field);
    }
}

TEST(ModelSpec, RefusesWhatItDoesNotCompute) {
  const std::vector<std::pair<std::string, Json>> fields = {
      {"model_type", "gemma2"},
      {"hidden_act", "gelu"},
      {"attention_dropout", 0.1},
      {"num_key_value_heads", 3},
      {"logit_scale", 0.5},
      {"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}},
      {"torch_dtype", "float8_e4m3fn"},
      {"rope_theta", 0},
      {"partial_rotary_factor", 1.5},
  };
  for (const auto& [field, value] : fields) {
    Json config = llama();
    config[field] = value;
    expect_refused(config, field == "rope_scaling" ? "yarn" : field);
  }
  Json config = llama();
  config["logit_scale"] = 0.5;
  EXPECT_NO_THROW(model_spec_from_config(config, {"logit_scale"}));
}

TEST(ModelSpec, RefusesBadRopeFactors) {
  Json phi = llama();
  phi["model_type"] = "phi3";
  phi["max_position_embeddings"] = 64;
  phi["original_max_position_embeddings"] = 16;
  const Json good = std::vector<double>(8, 1.0);
  phi["rope_scaling"] = {{"type", "longrope"}, {"short_factor", good}, {"long_factor", good}};
  EXPECT_NO_THROW(model_spec_from_config(phi));
  for (const Json& bad : {Json(std::vector<double>(7, 1.0)), Json(std::vector<double>(8, 0.0)),
                          Json::parse("[1,1,1,1,1,1,1,null]"), Json("1"), Json(nullptr)}) {
    phi["rope_scaling"]["long_factor"] = bad;
    expect_refused(phi, "long_factor");
  }
}

// Sizes as published, or as in formats.md section 15 for Phi-4-mini.
TEST(ModelSpec, RealConfigurations) {
  NIBBLE_NEEDS_SHARED_DATA();
  const auto spec_of = [](const std::string& file) {
    return model_spec_from_config(read_json_file(shared_data() / file, file));
  };
  const ModelSpec phi4mini = spec_of("models/Phi-4-mini-instruct/config.json");
  EXPECT_EQ(phi4mini.linear_parameters(), 3'221'225'472);
  EXPECT_EQ(phi4mini.embedding_parameters(), 200'064 * 3'072);
  EXPECT_EQ(phi4mini.rope.rotary_dim(), 96);
  EXPECT_NEAR(phi4mini.rope.factor, 1.19024, 1e-5);
  EXPECT_EQ(phi4mini.rope.variant_for(4096), 0);
  EXPECT_EQ(phi4mini.rope.variant_for(4097), 1);
  EXPECT_EQ(spec_of("configs/Llama-3.1-8B-Instruct.json").parameters(), 8'030'261'248);
  EXPECT_EQ(spec_of("configs/Llama-3.2-1B-Instruct.json").parameters(), 1'235'814'400);
  EXPECT_EQ(spec_of("configs/Llama-3.1-70B-Instruct.json").parameters(), 70'553'706'496);
  EXPECT_EQ(spec_of("configs/Qwen2.5-7B-Instruct.json").parameters(), 7'615'616'512);
  EXPECT_EQ(spec_of("configs/Qwen3-8B.json").parameters(), 8'190'735'360);
  EXPECT_EQ(spec_of("configs/Mistral-7B-Instruct-v0.3.json").parameters(), 7'248'023'552);
  EXPECT_EQ(spec_of("configs/Phi-3.5-mini-instruct.json").parameters(), 3'821'079'552);
  EXPECT_EQ(spec_of("configs/phi-4.json").parameters(), 14'659'507'200);
  expect_refused(read_json_file(shared_data() / "configs/Gemma-2-2b.json", "gemma"), "gemma2");
}

// transformers' own rotary classes (tools/rope_goldens.py). Its pow is off by one ulp in an entry
// here and there; one ulp of a frequency is up to 2^-24 * 131071 = 0.008 radians at the last
// position, so cos and sin are compared where the frequency is the same number.
TEST(RopeSpec, EqualsTransformers) {
  const SafetensorsFile file(golden("models") / "rope_vectors.safetensors");
  const Json index = read_json_file(golden("models") / "rope_vectors.json", "rope_vectors.json");
  const auto floats = [&](const std::string& name) {
    const SafetensorsInfo* info = file.find(name);
    std::vector<float> values(info->bytes() / sizeof(float));
    file.read(*info, 0, std::as_writable_bytes(std::span(values)));
    return values;
  };
  const std::vector<int64_t> positions = index.at("positions");
  for (const auto& [name, set] : index.at("sets").items()) {
    if (name == "qwen25_yarn") continue;  // refused, see above
    Json config = set.at("config");
    const Json sizes = llama();
    for (const auto& [key, value] : sizes.items())
      if (!config.contains(key)) config[key] = value;
    const ModelSpec spec = model_spec_from_config(config);
    const bool is_long = set.at("longrope_list") == "long";
    const std::vector<float>& ours = spec.rope.inverse_frequencies[is_long ? 1 : 0];
    const std::vector<float> theirs = floats(name + ".inv_freq");
    const std::vector<float> cos = floats(name + ".cos"), sin = floats(name + ".sin");
    ASSERT_EQ(ours.size(), theirs.size()) << name;
    EXPECT_FLOAT_EQ(spec.rope.factor, set.at("attention_factor").get<float>()) << name;
    int different = 0;
    for (size_t i = 0; i < ours.size(); ++i) {
      EXPECT_NEAR(ours[i], theirs[i], 0x1p-22f * theirs[i]) << name << " " << i;
      different += ours[i] != theirs[i] ? 1 : 0;
      if (ours[i] != theirs[i]) continue;
      for (size_t p = 0; p < positions.size(); ++p) {
        const float angle = static_cast<float>(positions[p]) * ours[i];
        const size_t at = p * ours.size() + i;
        EXPECT_NEAR(spec.rope.factor * std::cos(angle), cos[at], 1e-6) << name << " " << i;
        EXPECT_NEAR(spec.rope.factor * std::sin(angle), sin[at], 1e-6) << name << " " << i;
      }
    }
    EXPECT_LE(different, static_cast<int>(ours.size()) / 4) << name;
  }
}

}  // namespace
}  // namespace nibble::test
