// transformers writes model_max_length 1000000000000000019884624838656 for a tokenizer without a
// limit; it was refused as an integer beyond 64 bits, and with it most model folders.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "support/data.h"
#include "support/demo_run.h"
#include "train/tokenizer_source.h"

namespace nibble::test {
namespace {

TEST(Regressions, TokenizerConfigWithoutALengthLimit) {
  const TempDir folder;
  std::filesystem::copy(demo_model(), folder / "model");
  std::string config = read_file(folder / "model/tokenizer_config.json");
  const size_t at = config.find("\"model_max_length\": 512");
  ASSERT_NE(at, std::string::npos);
  config.replace(at, 23, "\"model_max_length\": 1000000000000000019884624838656");
  write_file(folder / "model/tokenizer_config.json", config);
  EXPECT_EQ(TokenizerSource::open(folder / "model").special.eos->text, "<|end_of_text|>");
}

}  // namespace
}  // namespace nibble::test
