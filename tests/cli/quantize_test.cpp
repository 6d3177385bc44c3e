// nibble quantize: the folder has what bitsandbytes writes, and is the model that train quantizes
// for itself.
#include <gtest/gtest.h>

#include <set>

#include "files/model_dir.h"
#include "files/quant_state.h"
#include "support/commands.h"

namespace nibble::test {
namespace {

std::vector<std::string> quantize(const std::filesystem::path& model,
                                  const std::filesystem::path& out,
                                  const std::vector<std::string>& more = {}) {
  return joined({"quantize", "--model_name_or_path", model.string(), "--output_dir", out.string()},
                more);
}

// Name, dtype and shape of every tensor of layer 0 but the text, as bitsandbytes wrote them.
std::map<std::string, std::pair<DType, std::vector<uint64_t>>> layout(const ModelDir& dir,
                                                                      const std::string& prefix) {
  std::map<std::string, std::pair<DType, std::vector<uint64_t>>> result;
  for (const std::string& name : dir.names())
    if (name.starts_with(prefix)) {
      const TensorInfo info = dir.info(name);
      const bool text = name.find("quant_state") != std::string::npos;
      result[name] = {info.dtype, text ? std::vector<uint64_t>{} : info.shape};
    }
  return result;
}

// The 16-bit weights that bnb_llama was made of are not kept, so its config gets made-up ones: the
// layout depends on nothing but sizes. That the codes are right is for tests/quant.
TEST(Quantize, WritesTheTensorsThatBitsandbytesWrites) {
  const TempDir folder;
  const ModelDir golden_dir(golden("models/bnb_llama"));
  // A 16-bit model of the same sizes.
  std::vector<SafetensorsInfo> infos;
  std::set<std::string> weights;
  for (const std::string& name : golden_dir.names()) {
    if (name.find(".weight.") != std::string::npos) continue;
    const TensorInfo info = golden_dir.info(name);
    std::vector<uint64_t> shape = info.shape;
    const std::string state = name + ".quant_state.bitsandbytes__nf4";
    if (golden_dir.has(state)) {
      const auto sizes = parse_quant_state(bytes_of(golden_dir, state), state).shape;
      shape = {static_cast<uint64_t>(sizes[0]), static_cast<uint64_t>(sizes[1])};
      weights.insert(name);
    }
    infos.push_back({name, "BF16", shape});
  }
  std::filesystem::create_directory(folder / "model");
  SafetensorsWriter writer(folder / "model" / "model.safetensors", infos);
  for (const SafetensorsInfo& info : writer.order()) {
    std::vector<std::byte> values(info.bytes());
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<std::byte>(i % 2 == 0 ? i * 37 % 251 : 0x3d + i % 3);
    writer.write(info.name, values);
  }
  writer.finish();
  nlohmann::json config = golden_dir.config();
  const nlohmann::json quantization = config.at("quantization_config");
  config.erase("quantization_config");
  write_file(folder / "model" / "config.json", config.dump());

  output_of(quantize(folder / "model", folder / "out"));
  const ModelDir out(folder / "out");
  EXPECT_EQ(layout(out, "model.layers."), layout(golden_dir, "model.layers."));
  for (const std::string& weight : weights) {
    const std::string name = weight + ".quant_state.bitsandbytes__nf4";
    const QuantState ours = parse_quant_state(bytes_of(out, name), name);
    const QuantState theirs = parse_quant_state(bytes_of(golden_dir, name), name);
    EXPECT_EQ(ours.shape, theirs.shape);
    EXPECT_EQ(ours.dtype, theirs.dtype);
    EXPECT_TRUE(ours.nested);
    EXPECT_EQ(bytes_of(out, weight + ".quant_map"), bytes_of(golden_dir, weight + ".quant_map"));
    EXPECT_EQ(bytes_of(out, weight + ".nested_quant_map"),
              bytes_of(golden_dir, weight + ".nested_quant_map"));
  }
  // The configuration: the keys that transformers writes, and all that was there.
  nlohmann::json ours = out.config();
  std::set<std::string> keys, expected_keys;
  for (const auto& item : ours.at("quantization_config").items()) keys.insert(item.key());
  for (const auto& item : quantization.items()) expected_keys.insert(item.key());
  EXPECT_EQ(keys, expected_keys);
  EXPECT_EQ(ours.at("quantization_config").at("bnb_4bit_quant_type"), "nf4");
  EXPECT_EQ(ours.at("quantization_config").at("bnb_4bit_use_double_quant"), true);
  ours.erase("quantization_config");
  EXPECT_EQ(ours, config);
}

TEST(Quantize, TheFolderIsTheModelThatTrainQuantizes) {
  for (const char* name : {"llama3", "qwen2_f16", "phi4mini", "llama3_sharded"}) {
    for (const char* type : {"nf4", "fp4"}) {
      for (const char* nested : {"true", "false"}) {
        SCOPED_TRACE(std::string(name) + " " + type + " " + nested);
        const TempDir folder;
        const auto model = model_with_tokenizer(name, folder.path());
        const std::vector<std::string> options = {"--bnb_4bit_quant_type", type,
                                                  "--bnb_4bit_use_double_quant", nested};
        output_of(quantize(model, folder / "out", joined(options, {"--max_shard_size", "20KB"})));
        const auto loss = [&](const std::filesystem::path& path,
                              const std::vector<std::string>& more) {
          return json_of(joined({"eval", "--model_name_or_path", path.string(), "--dataset",
                                 golden("commands/rows").string(), "--threads", "1", "--json"},
                                more))
              .at("loss")
              .get<double>();
        };
        EXPECT_EQ(loss(folder / "out", {}), loss(model, options));  // bit for bit
        const ModelDir source(model), out(folder / "out");
        for (const char* file : {"tokenizer.json", "tokenizer_config.json"})
          EXPECT_EQ(read_file(folder / "out" / file), read_file(model / file));
        for (const char* kept : {"model.embed_tokens.weight", "model.norm.weight"})
          EXPECT_EQ(bytes_of(out, kept), bytes_of(source, kept));
        EXPECT_TRUE(std::filesystem::exists(folder / "out" / "model.safetensors.index.json"));
      }
    }
  }
}

TEST(Quantize, RefusesWhatItCannotDo) {
  const TempDir folder;
  const auto model = golden("models/llama3");
  expect_failure(quantize(golden("models/bnb_llama"), folder / "out"), 64, "quantized already");
  expect_failure({"quantize", "--model_name_or_path", model.string()}, 64, "output_dir is missing");
  expect_failure(quantize(model, folder / "out", {"--max_shard_size", "5 bananas"}), 64,
                 "max_shard_size: got 5 bananas");
  output_of(quantize(model, folder / "out"));
  const std::string before = read_file(folder / "out" / "MANIFEST.json");
  expect_failure(quantize(golden("models/qwen3"), folder / "out"), 64, "is not empty");
  EXPECT_EQ(read_file(folder / "out" / "MANIFEST.json"), before);
  output_of(quantize(golden("models/qwen3"), folder / "out", {"--overwrite_output_dir", "true"}));
  EXPECT_EQ(ModelDir(folder / "out").config().at("model_type"), "qwen3");
  // A folder that Nibble did not write is not replaced even so.
  std::filesystem::create_directory(folder / "mine");
  write_file(folder / "mine" / "thesis.txt", "words");
  expect_failure(quantize(model, folder / "mine", {"--overwrite_output_dir", "true"}), 64,
                 "did not write it");
  EXPECT_EQ(read_file(folder / "mine" / "thesis.txt"), "words");
  // A full disk leaves nothing behind.
  const ProgramResult full = run_program(quantize(model, folder / "full"), 8192);
  EXPECT_NE(full.exit_code, 0);
  EXPECT_FALSE(std::filesystem::exists(folder / "full"));
}

}  // namespace
}  // namespace nibble::test
