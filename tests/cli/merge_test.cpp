// nibble merge: the weights that PEFT's merge_and_unload gives, and logits of the live adapter.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <regex>

#include "files/model_dir.h"
#include "support/commands.h"

namespace nibble::test {
namespace {

const std::filesystem::path& adapter() {
  static const std::filesystem::path path = golden("models/llama_rslora/adapter");
  return path;
}

std::vector<std::string> merge(const std::filesystem::path& model, const std::filesystem::path& out,
                               const std::vector<std::string>& more = {}) {
  return joined({"merge", "--model_name_or_path", model.string(), "--adapter", adapter().string(),
                 "--output_dir", out.string(), "--bnb_4bit_compute_dtype", "float32"},
                more);
}

std::vector<float> floats_of(const ModelDir& dir, const std::string& name) {
  const std::string bytes = bytes_of(dir, name);
  const DType dtype = dir.info(name).dtype;
  std::vector<float> values;
  for (size_t i = 0; i < bytes.size(); i += size_of(dtype)) {
    if (dtype == DType::f32) {
      values.push_back(0);
      std::memcpy(&values.back(), bytes.data() + i, 4);
    } else {
      uint16_t word = 0;
      std::memcpy(&word, bytes.data() + i, 2);
      values.push_back(dtype == DType::bf16 ? to_float(bf16{word}) : to_float(f16{word}));
    }
  }
  return values;
}

// "largest difference 6.08e-06, ... (largest logit 4.85)" -> the two numbers.
std::pair<double, double> difference_in(const std::string& output) {
  std::smatch match;
  EXPECT_TRUE(std::regex_search(
      output, match, std::regex("largest difference ([0-9.e+-]+), .*largest logit ([0-9.e+-]+)")))
      << output;
  return {std::stod(match[1]), std::stod(match[2])};
}

TEST(Merge, GivesTheWeightsThatPeftGives) {
  const TempDir folder;
  const std::string output = output_of(merge(golden("models/llama_rslora"), folder / "out"));
  const ModelDir out(folder / "out"), source(golden("models/llama_rslora"));
  const SafetensorsFile expected(golden("commands/merged.safetensors"));
  size_t changed = 0;
  for (const std::string& name : out.names()) {
    const SafetensorsInfo* info = expected.find(name);
    if (!info) {
      EXPECT_EQ(bytes_of(out, name), bytes_of(source, name)) << name;
      continue;
    }
    ++changed;
    std::vector<float> theirs(info->bytes() / sizeof(float));
    expected.read(*info, 0, std::as_writable_bytes(std::span(theirs)));
    const std::vector<float> ours = floats_of(out, name);
    ASSERT_EQ(ours.size(), theirs.size());
    // Two sums of r <= 8 products and one more: each term rounds to 2^-24 of a value below 4.
    for (size_t i = 0; i < ours.size(); ++i) EXPECT_NEAR(ours[i], theirs[i], 10 * 4 * 0x1p-24);
  }
  EXPECT_EQ(changed, expected.tensors().size());
  EXPECT_EQ(out.config(), source.config());

  // float32 throughout, nothing is rounded further: the bound of the model goldens.
  const auto [largest, scale] = difference_in(output);
  EXPECT_LT(largest, 1e-4 * scale);
}

TEST(Merge, TheMergedModelHasTheLossOfTheAdapter) {
  const TempDir folder;
  const auto model = model_with_tokenizer("llama_rslora", folder.path());
  output_of(merge(model, folder / "out", {"--max_shard_size", "20KB"}));
  const double loss = command_goldens().at("eval").at("merged").at("loss").get<double>();
  const auto json = json_of({"eval", "--model_name_or_path", (folder / "out").string(), "--dataset",
                             golden("commands/rows").string(), "--load_in_4bit", "false",
                             "--bnb_4bit_compute_dtype", "float32", "--json"});
  EXPECT_NEAR(json.at("loss").get<double>(), loss, 1e-4 * loss);
}

// Into what 4-bit training saw: equal to the 4-bit model with the adapter beside it, whether the
// base is quantized on the way or was before.
TEST(Merge, IntoDequantizedWeights) {
  const TempDir folder;
  const auto model = golden("models/llama_rslora");
  const std::string output = output_of(merge(model, folder / "a", {"--into", "dequantized"}));
  const auto [largest, scale] = difference_in(output);
  EXPECT_LT(largest, 1e-4 * scale);

  output_of({"quantize", "--model_name_or_path", model.string(), "--output_dir",
             (folder / "q").string()});
  output_of(merge(folder / "q", folder / "b", {"--into", "dequantized"}));
  const ModelDir a(folder / "a"), b(folder / "b"), source(model);
  EXPECT_EQ(a.names(), source.names());
  EXPECT_EQ(b.names(), source.names());
  EXPECT_FALSE(b.config().contains("quantization_config"));
  size_t changed = 0;
  for (const std::string& name : a.names()) {
    EXPECT_EQ(bytes_of(a, name), bytes_of(b, name)) << name;
    changed += bytes_of(a, name) != bytes_of(source, name) ? 1 : 0;
  }
  EXPECT_EQ(changed, 14u);  // every linear layer, adapted or not
  expect_failure(merge(folder / "q", folder / "c"), 64, "use --into dequantized");
}

// One rounding to bfloat16, 2^-8 of the value at most, of the float32 merge of the same base.
TEST(Merge, RoundsOnceToTheDtypeOfTheBase) {
  const TempDir folder;
  const auto model = golden("models/llama3_bf16");
  const std::string output = output_of(merge(model, folder / "out"));
  const ModelDir out(folder / "out"), base(model), plain(golden("models/llama_rslora"));
  const SafetensorsFile expected(golden("commands/merged.safetensors"));
  for (const SafetensorsInfo& info : expected.tensors()) {
    ASSERT_EQ(out.info(info.name).dtype, DType::bf16);
    std::vector<float> merged(info.bytes() / sizeof(float));
    expected.read(info, 0, std::as_writable_bytes(std::span(merged)));
    const auto before = floats_of(base, info.name), f32 = floats_of(plain, info.name);
    const auto ours = floats_of(out, info.name);
    for (size_t i = 0; i < ours.size(); ++i) {
      const double exact = double{before[i]} + (double{merged[i]} - double{f32[i]});
      EXPECT_NEAR(ours[i], exact, std::fabs(exact) * 0x1p-8 + 1e-6) << info.name;
    }
  }
  // Weights move by up to 2^-8 of themselves; 2 blocks of 4 products in a row each.
  const auto [largest, scale] = difference_in(output);
  EXPECT_GT(largest, 0);
  EXPECT_LT(largest, 8 * 0x1p-8 * scale);
}

TEST(Merge, RefusesWhatItCannotDo) {
  const TempDir folder;
  expect_failure({"merge", "--model_name_or_path", golden("models/llama3").string()}, 64,
                 "adapter is missing");
  expect_failure(merge(golden("models/phi3"), folder / "out"), 64, "matches no linear layer");
  expect_failure(merge(golden("models/qwen3"), folder / "out"), 66, "expected 64 x 8");
  expect_failure(merge(golden("models/llama3"), folder / "out", {"--into", "nothing"}), 64,
                 "into: got nothing");
  expect_failure(merge(golden("models/llama3"), golden("models/llama3")), 64, "own folder");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace nibble::test
