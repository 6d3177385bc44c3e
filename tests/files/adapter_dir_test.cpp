// PEFT adapter folders: read as PEFT writes them, written as every PEFT reads them.
#include "files/adapter_dir.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/error.h"
#include "files/json.h"
#include "support/data.h"

namespace nibble::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using std::string;

AdapterConfig config_of(const json& object) {
  std::vector<string> warnings;
  // Through the text, so that numbers have the types that a file's have.
  return adapter_config_from_json(parse_json(object.dump(), "test"), "adapter_config.json",
                                  warnings);
}

json minimal() { return {{"peft_type", "LORA"}, {"target_modules", {"q_proj"}}}; }

string refusal(const string& field, const json& value) {
  json object = minimal();
  object[field] = value;
  try {
    config_of(object);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

Adapter small_adapter() {
  Adapter adapter;
  adapter.config.r = 2;
  adapter.config.target_modules = {"q_proj"};
  for (const char factor : {'A', 'B'}) {
    AdapterTensor tensor{"model.layers.0.self_attn.q_proj", factor, {}, {}};
    tensor.shape = factor == 'A' ? std::vector<uint64_t>{2, 3} : std::vector<uint64_t>{4, 2};
    for (size_t i = 0; i < tensor.shape[0] * tensor.shape[1]; ++i) {
      tensor.values.push_back(0.25f * static_cast<float>(i) - 1);
    }
    adapter.tensors.push_back(tensor);
  }
  return adapter;
}

TEST(AdapterConfig, SmallestFileHasPeftsDefaults) {
  const AdapterConfig config = config_of(minimal());
  EXPECT_EQ(config.r, 8u);
  EXPECT_EQ(config.lora_alpha, 8);
  EXPECT_EQ(config.lora_dropout, 0);
  EXPECT_FALSE(config.use_rslora);
  EXPECT_EQ(config.target_modules, std::vector<string>{"q_proj"});
}

TEST(AdapterConfig, ReadsEveryFieldItComputesWith) {
  const AdapterConfig config = config_of(json::parse(R"({
    "peft_type": "LORA", "r": 16, "lora_alpha": 32.5, "lora_dropout": 0.1, "use_rslora": true,
    "target_modules": ".*\\.(q|v)_proj", "exclude_modules": ["b", "a", "b"],
    "rank_pattern": {"^x": 4}, "alpha_pattern": {"^x": 2.5}, "layers_to_transform": [0, 3],
    "layers_pattern": "layers", "base_model_name_or_path": "some/model", "task_type": null,
    "init_lora_weights": "gaussian", "bias": "none", "peft_version": "0.20.0"})"));
  EXPECT_EQ(config.r, 16u);
  EXPECT_EQ(config.lora_alpha, 32.5);
  EXPECT_EQ(config.lora_dropout, 0.1);
  EXPECT_TRUE(config.use_rslora);
  EXPECT_EQ(config.target_regex, ".*\\.(q|v)_proj");
  EXPECT_EQ(config.exclude_modules, (std::vector<string>{"a", "b"}));
  EXPECT_EQ(config.rank_pattern.at("^x"), 4u);
  EXPECT_EQ(config.alpha_pattern.at("^x"), 2.5);
  EXPECT_EQ(config.layers_to_transform, (std::vector<uint64_t>{0, 3}));
  EXPECT_EQ(config.layers_pattern, std::vector<string>{"layers"});
}

TEST(AdapterConfig, OneLayerMayStandForAList) {
  json object = minimal();
  object["layers_to_transform"] = 0;
  EXPECT_EQ(config_of(object).layers_to_transform, std::vector<uint64_t>{0});
}

TEST(AdapterConfig, FieldsThatChangeTheMathematicsAreRefusedByName) {
  const std::vector<std::pair<string, json>> changes = {
      {"use_dora", true},
      {"use_qalora", true},
      {"use_bdlora", {{"nblocks", 2}}},
      {"bias", "all"},
      {"bias", "lora_only"},
      {"lora_bias", true},
      {"fan_in_fan_out", true},
      {"modules_to_save", {"lm_head"}},
      {"alora_invocation_tokens", {1, 2}},
      {"arrow_config", {{"k", 1}}},
      {"kasa_config", {{"beta", 0.1}}},
      {"velora_config", {{"k", 1}}},
      {"monteclora_config", {{"k", 1}}},
      {"megatron_config", {{"k", 1}}},
      {"layer_replication", {{0, 1}}},
      {"trainable_token_indices", {5}},
      {"target_parameters", {"experts"}},
      {"ensure_weight_tying", true},
      {"init_lora_weights", "pissa"},
      {"init_lora_weights", "olora"},
      {"init_lora_weights", "loftq"},
      {"peft_type", "LOHA"},
      {"task_type", "SEQ_CLS"},
  };
  for (const auto& [field, value] : changes) {
    EXPECT_NE(refusal(field, value).find(field + ": got"), string::npos) << refusal(field, value);
  }
}

TEST(AdapterConfig, ValuesOutOfRangeAreRefused) {
  const std::vector<std::pair<string, json>> wrong = {
      {"r", 0},
      {"r", -1},
      {"r", 8.0},
      {"r", "8"},
      {"r", 65537},
      {"r", nullptr},
      {"lora_alpha", "16"},
      {"lora_alpha", -1},
      {"lora_dropout", 1},
      {"lora_dropout", -0.1},
      {"use_rslora", 1},
      {"target_modules", nullptr},
      {"target_modules", json::array()},
      {"target_modules", {1}},
      {"target_modules", {""}},
      {"target_modules", 3},
      {"rank_pattern", {{"x", 0}}},
      {"rank_pattern", {1}},
      {"layers_to_transform", {-1}},
      {"layers_to_transform", "0"},
      {"base_model_name_or_path", 1},
  };
  for (const auto& [field, value] : wrong) {
    EXPECT_NE(refusal(field, value).find(field + ": got"), string::npos)
        << field << " = " << value << ": " << refusal(field, value);
  }
  EXPECT_THROW(config_of(json::array()), Error);
  EXPECT_THROW(config_of({{"target_modules", {"q_proj"}}}), Error);
}

TEST(AdapterConfig, UnknownFieldsAreNamedInWarnings) {
  json object = minimal();
  object["field_of_the_future"] = 3;
  object["unset_future"] = nullptr;
  object["eva_config"] = {{"rho", 2.0}};
  std::vector<string> warnings;
  adapter_config_from_json(object, "adapter_config.json", warnings);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("field_of_the_future"), string::npos);
}

TEST(AdapterConfig, IsWrittenAsTheOldCommonSubset) {
  AdapterConfig config;
  config.r = 16;
  config.lora_alpha = 32;
  config.target_modules = {"o_proj", "qkv_proj"};
  config.base_model_name_or_path = "microsoft/Phi-4-mini-instruct";
  EXPECT_EQ(adapter_config_text(config), R"({
  "alpha_pattern": {},
  "auto_mapping": null,
  "base_model_name_or_path": "microsoft/Phi-4-mini-instruct",
  "bias": "none",
  "fan_in_fan_out": false,
  "inference_mode": true,
  "init_lora_weights": true,
  "layers_pattern": null,
  "layers_to_transform": null,
  "lora_alpha": 32,
  "lora_dropout": 0.0,
  "modules_to_save": null,
  "peft_type": "LORA",
  "r": 16,
  "rank_pattern": {},
  "revision": null,
  "target_modules": [
    "o_proj",
    "qkv_proj"
  ],
  "task_type": "CAUSAL_LM",
  "use_dora": false,
  "use_rslora": false
})");
}

TEST(AdapterConfig, RoundTrips) {
  AdapterConfig config;
  config.r = 3;
  config.lora_alpha = 4.5;
  config.lora_dropout = 0.05;
  config.use_rslora = true;
  config.target_regex = ".*q_proj";
  config.exclude_modules = {"lm_head"};
  config.rank_pattern = {{"a", 2}};
  config.alpha_pattern = {{"a", 0.5}, {"b", 8}};
  config.layers_to_transform = {{1, 2}};
  config.layers_pattern = {"layers"};
  const string text = adapter_config_text(config);
  EXPECT_EQ(adapter_config_text(config_of(parse_json(text, "config"))), text);
  EXPECT_NE(text.find("\"lora_alpha\": 4.5"), string::npos);
}

TEST(AdapterConfig, RealFiles) {
  NIBBLE_NEEDS_SHARED_DATA();
  size_t read = 0;
  for (const auto& entry : fs::directory_iterator(shared_data() / "adapters/peft-configs")) {
    const string name = entry.path().filename().string();
    const json object = read_json_file(entry.path(), name);
    string expected;  // the field a refusal must name
    for (const char* field : {"use_dora", "use_bdlora", "kasa_config"}) {
      if (object.contains(field) && object[field] != false && !object[field].is_null()) {
        expected = field;
      }
    }
    if (expected.empty() && object["init_lora_weights"] == "mica") expected = "init_lora_weights";
    if (expected.empty() && object["target_modules"].is_null()) expected = "target_modules";
    try {
      const AdapterConfig config = config_of(object);
      EXPECT_TRUE(expected.empty()) << name;
      EXPECT_EQ(config.r, object["r"].get<uint64_t>());
      EXPECT_EQ(config.lora_alpha, object["lora_alpha"].get<double>());
      EXPECT_EQ(config.use_rslora, object.value("use_rslora", false));
      ++read;
    } catch (const Error& error) {
      EXPECT_FALSE(expected.empty()) << error.what();
      EXPECT_NE(string(error.what()).find(expected), string::npos) << error.what();
    }
  }
  EXPECT_GE(read, 4u);
}

// tools/make_file_goldens.py: element i of each tensor is ((i * 7) % 23 - 11) / 8.
TEST(AdapterDir, ReadsWhatPeftWrites) {
  for (const string name : {"peft_adapter", "peft_adapter_bf16"}) {
    const Adapter adapter = read_adapter(golden("files/" + name));
    const bool bf16 = name == "peft_adapter_bf16";
    EXPECT_TRUE(adapter.warnings.empty());
    EXPECT_EQ(adapter.config.use_rslora, bf16);
    EXPECT_EQ(adapter.config.lora_alpha, 6);
    ASSERT_EQ(adapter.tensors.size(), 12u);  // 2 layers, 3 modules, A and B
    EXPECT_EQ(adapter.tensors[0].module, "model.layers.0.mlp.down_proj");
    EXPECT_EQ(adapter.tensors[0].factor, 'A');
    EXPECT_EQ(adapter.tensors[0].shape, (std::vector<uint64_t>{4, 24}));
    EXPECT_EQ(adapter.tensors[6].module, "model.layers.1.mlp.down_proj");
    EXPECT_EQ(adapter.tensors[6].shape[0], bf16 ? 4u : 2u);  // rank_pattern
    for (const auto& tensor : adapter.tensors) {
      ASSERT_EQ(tensor.values.size(), tensor.shape[0] * tensor.shape[1]);
      for (size_t i = 0; i < tensor.values.size(); ++i) {
        EXPECT_EQ(tensor.values[i], static_cast<float>(static_cast<int>(i * 7 % 23) - 11) / 8);
      }
    }
  }
}

// The same tensors in the same dtype give the same file, byte for byte.
TEST(AdapterDir, WritesTheTensorsAsPeftDoes) {
  const TempDir folder;
  for (const auto& [name, dtype] :
       {std::pair{"peft_adapter", DType::f32}, std::pair{"peft_adapter_bf16", DType::bf16}}) {
    AtomicDir out(folder / name);
    write_adapter(out, read_adapter(golden(string("files/") + name)), dtype);
    out.commit();
    EXPECT_EQ(read_file(folder / name / "adapter_model.safetensors"),
              read_file(golden(string("files/") + name) / "adapter_model.safetensors"));
    EXPECT_NO_THROW(read_adapter(folder / name));
  }
}

class AdapterFault : public testing::Test {
 protected:
  // Writes tensors without write_adapter's checks, then reads the folder.
  string read_with(const std::vector<SafetensorsInfo>& infos, float value = 1) {
    const TempDir folder;
    write_file(folder / "adapter_config.json",
               R"({"peft_type":"LORA","r":2,"target_modules":["q_proj"]})");
    SafetensorsWriter writer(folder / "adapter_model.safetensors", infos);
    for (const auto& info : writer.order()) {
      for (uint64_t i = 0; i < info.bytes() / 4; ++i) {
        writer.write(info.name, std::as_bytes(std::span(&value, 1)));
      }
    }
    writer.finish();
    try {
      read_adapter(folder.path());
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::bad_input);
      return error.what();
    }
    return "accepted";
  }
  static SafetensorsInfo tensor(const string& name, std::vector<uint64_t> shape) {
    return {"base_model.model." + name + ".weight", "F32", std::move(shape)};
  }
};

TEST_F(AdapterFault, EachIsNamed) {
  const auto expect = [](const string& message, const string& part) {
    EXPECT_NE(message.find(part), string::npos) << message;
  };
  const auto a = tensor("q.lora_A", {2, 3}), b = tensor("q.lora_B", {3, 2});
  EXPECT_EQ(read_with({a, b}), "accepted");
  expect(read_with({}), "no tensors");
  expect(read_with({a}), "expected one lora_A and one lora_B");
  expect(read_with({b}), "expected one lora_A and one lora_B");
  expect(read_with({a, tensor("p.lora_B", {3, 2})}), "expected one lora_A and one lora_B");
  expect(read_with({a, tensor("q.lora_B", {6})}), "got shape [6]");
  expect(read_with({a, tensor("q.lora_B", {0, 2})}), "got shape [0, 2]");
  expect(read_with({a, tensor("q.lora_B", {2, 3})}), "got ranks 2 (lora_A) and 3 (lora_B)");
  expect(read_with({tensor("q.lora_A", {3, 3}), tensor("q.lora_B", {3, 3})}), "says r = 2");
  expect(read_with({a, b, tensor("lm_head", {2, 2})}), "not supported");
  expect(read_with({a, b, tensor("q.lora_embedding_A", {2, 2})}), "not supported");
  expect(read_with({{"q.lora_A.weight", "F32", {2, 3}}}), "not supported");
  expect(read_with({{a.name, "I32", {2, 3}}, b}), "dtype I32");
  expect(read_with({a, b}, std::numeric_limits<float>::quiet_NaN()), "value 0 is nan");
  expect(read_with({a, b}, std::numeric_limits<float>::infinity()), "value 0 is inf");
}

TEST(AdapterDir, PicklesAreNotRead) {
  const TempDir folder;
  write_file(folder / "adapter_config.json", minimal().dump());
  write_file(folder / "adapter_model.bin", "x");
  try {
    read_adapter(folder.path());
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(string(error.what()).find("pickle"), string::npos);
  }
}

TEST(AdapterDir, WritesInEachDTypeAndReadsBack) {
  const TempDir folder;
  const Adapter adapter = small_adapter();
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    AtomicDir out(folder / "adapter");
    write_adapter(out, adapter, dtype);
    out.commit();
    const Adapter back = read_adapter(folder / "adapter");
    ASSERT_EQ(back.tensors.size(), 2u);
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(back.tensors[i].key(), adapter.tensors[i].key());
      EXPECT_EQ(back.tensors[i].shape, adapter.tensors[i].shape);
      EXPECT_EQ(back.tensors[i].values, adapter.tensors[i].values);
    }
    EXPECT_EQ(back.metadata.at("format"), "pt");
  }
}

TEST(AdapterDir, DoesNotWriteWhatItWouldNotRead) {
  const TempDir folder;
  const auto kind = [&](const Adapter& adapter, DType dtype) {
    AtomicDir out(folder / "adapter");
    try {
      write_adapter(out, adapter, dtype);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::internal;
  };
  Adapter adapter = small_adapter();
  adapter.tensors[0].values[1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(kind(adapter, DType::f32), ErrorKind::diverged);
  adapter.tensors[0].values[1] = 70000;  // finite in bf16, not in f16
  EXPECT_EQ(kind(adapter, DType::f16), ErrorKind::diverged);
  adapter = small_adapter();
  adapter.tensors.pop_back();
  EXPECT_EQ(kind(adapter, DType::f32), ErrorKind::bad_input);
  EXPECT_EQ(kind(small_adapter(), DType::u8), ErrorKind::usage);
  EXPECT_FALSE(fs::exists(folder / "adapter"));
}

}  // namespace
}  // namespace nibble::test
