// nibble eval against transformers and PEFT in float32 (tools/make_command_goldens.py).
#include <gtest/gtest.h>

#include <cmath>

#include "files/safetensors.h"
#include "support/commands.h"

namespace nibble::test {
namespace {

std::vector<std::string> eval(const std::filesystem::path& model,
                              const std::vector<std::string>& more = {}) {
  return joined({"eval", "--model_name_or_path", model.string(), "--dataset",
                 golden("commands/rows").string(), "--load_in_4bit", "false",
                 "--bnb_4bit_compute_dtype", "float32", "--json"},
                more);
}

// Losses near 5 of float32 forwards of two implementations: the bound of the model goldens.
constexpr double bound = 1e-4;

TEST(Eval, LossEqualsThatOfTransformers) {
  const auto expected = command_goldens();
  for (const char* name : {"llama3", "qwen3", "mistral", "phi4mini"}) {
    SCOPED_TRACE(name);
    const TempDir folder;
    const auto model = model_with_tokenizer(name, folder.path());
    const auto& golden_loss = expected.at("eval").at(name);
    const double loss = golden_loss.at("loss").get<double>();
    const auto json = json_of(eval(model));
    EXPECT_NEAR(json.at("loss").get<double>(), loss, bound * loss);
    EXPECT_NEAR(json.at("perplexity").get<double>(), std::exp(loss), 10 * bound * std::exp(loss));
    EXPECT_EQ(json.at("trained_tokens"), golden_loss.at("trained_tokens"));
    EXPECT_EQ(json.at("tokens"), expected.at("tokens"));
    // The batch size changes memory, not the result.
    const auto one = json_of(eval(model, {"--per_device_eval_batch_size", "1"}));
    EXPECT_NEAR(one.at("loss").get<double>(), loss, bound * loss);
    EXPECT_LT(one.at("peak_bytes"), json.at("peak_bytes"));
  }
}

TEST(Eval, AnAdapterMadeByPeftHasItsLossThere) {
  const TempDir folder;
  const auto model = model_with_tokenizer("llama_rslora", folder.path());
  const double loss = command_goldens().at("eval").at("llama_rslora").at("loss").get<double>();
  const auto json =
      json_of(eval(model, {"--adapter", golden("models/llama_rslora/adapter").string()}));
  EXPECT_NEAR(json.at("loss").get<double>(), loss, bound * loss);
}

// The loss follows from the logits written, by a computation of its own.
TEST(Eval, WritesLogitsThatGiveTheLoss) {
  const TempDir folder;
  const auto model = model_with_tokenizer("qwen3", folder.path());
  const std::string path = (folder / "logits.safetensors").string();
  const auto json = json_of(eval(model, {"--logits_out", path, "--completion_only_loss", "false"}));
  const SafetensorsFile file(path);
  double sum = 0;
  int64_t count = 0;
  for (int row = 0; row < 7; ++row) {
    const std::string name = "row" + std::to_string(row);
    const SafetensorsInfo* ids_info = file.find(name + ".ids");
    const SafetensorsInfo* info = file.find(name + ".logits");
    ASSERT_TRUE(ids_info && info);
    std::vector<int32_t> ids(ids_info->shape.at(0));
    std::vector<float> logits(info->bytes() / 4);
    file.read(*ids_info, 0, std::as_writable_bytes(std::span(ids)));
    file.read(*info, 0, std::as_writable_bytes(std::span(logits)));
    const size_t vocab = info->shape.at(1);
    for (size_t t = 0; t + 1 < ids.size(); ++t, ++count) {
      double total = 0;
      for (size_t i = 0; i < vocab; ++i) total += std::exp(double{logits[t * vocab + i]});
      sum += std::log(total) - double{logits[t * vocab + static_cast<size_t>(ids[t + 1])]};
    }
  }
  EXPECT_EQ(json.at("trained_tokens"), count);
  EXPECT_NEAR(json.at("loss").get<double>(), sum / static_cast<double>(count), 1e-5 * sum);
  // A file that is there is never overwritten.
  EXPECT_EQ(run_program(eval(model, {"--logits_out", path})).exit_code, 74);
}

TEST(Eval, RefusesWhatItCannotDo) {
  const TempDir folder;
  const auto model = model_with_tokenizer("llama3", folder.path());
  const std::string path = model.string();
  expect_failure({"eval", "--model_name_or_path", path}, 64, "dataset is missing");
  expect_failure({"eval", "--model_name_or_path", path, "--dataset", "/nowhere.jsonl"}, 66,
                 "/nowhere.jsonl");
  expect_failure(eval(model, {"--max_length", "1"}), 64, "max_length: got 1");
  expect_failure(eval(model, {"--adapter", path}), 66, "adapter_config.json");
  // An adapter of a model with other sizes.
  const auto other = model_with_tokenizer("phi4mini", folder.path());
  expect_failure(eval(other, {"--adapter", golden("models/llama_rslora/adapter").string()}), 64,
                 "matches no linear layer");
}

}  // namespace
}  // namespace nibble::test
