// The adapter's vector: layout, first values, and the way to disk and back.
#include "lora/parameters.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/buffer.h"
#include "core/error.h"
#include "ops/cpu/cpu_ops.h"
#include "support/data.h"
#include "support/golden_model.h"

namespace nibble::test {
namespace {

class Parameters : public testing::Test {
 protected:
  Parameters()
      : buffer_(Buffer::host(size_t{16} << 20)),
        arena_(buffer_.data(), buffer_.size()),
        ops_(arena_, 1) {
    config_.r = 6;
    config_.target_modules = {"q_proj", "down_proj"};
    config_.rank_pattern = {{"down_proj", 3}};
    for (int64_t layer = 0; layer < 2; ++layer)
      for (const char* name : {"self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj"})
        modules_.push_back({"model.layers." + std::to_string(layer) + "." + name, layer, 40, 100});
  }
  LoraParameters make(uint64_t seed) {
    LoraParameters parameters(config_, modules_, seed, true, arena_);
    parameters.initialize(ops_);
    return parameters;
  }

  Buffer buffer_;
  Arena arena_;
  CpuOps ops_;
  AdapterConfig config_;
  std::vector<LoraModule> modules_;
};

TEST_F(Parameters, SlotsTileTheVector) {
  const LoraParameters parameters = make(1);
  EXPECT_EQ(parameters.count(), 2 * (6 + 3) * (100 + 40));
  EXPECT_EQ(parameters.count(), trainable_parameters(parameters.targets(), modules_));
  int64_t next = 0;
  for (const auto& slot : parameters.slots()) {
    EXPECT_EQ(slot.offset, next);
    next += slot.size();
  }
  EXPECT_EQ(next, parameters.count());
  EXPECT_EQ(parameters.rank(1), 0);
  EXPECT_EQ(parameters.adapter(1, true, {}).a.size(), 0);
}

TEST_F(Parameters, StartIsUniformInAAndZeroInB) {
  const LoraParameters parameters = make(1);
  for (const auto& slot : parameters.slots()) {
    const auto values = download(ops_, parameters.slice(parameters.values(), slot));
    double sum = 0, squares = 0;
    for (const float value : values) {
      if (slot.factor == 'B') {
        ASSERT_EQ(value, 0);
      }
      ASSERT_LE(std::abs(value), 0.1f);  // 1 / sqrt(100)
      sum += static_cast<double>(value);
      squares += static_cast<double>(value) * static_cast<double>(value);
    }
    if (slot.factor == 'B') continue;
    // n draws of variance 0.01/3: mean within 5 standard errors; the variance of a square is
    // (0.1^4)(1/5 - 1/9).
    const auto n = static_cast<double>(values.size());
    EXPECT_NEAR(sum / n, 0, 5 * std::sqrt(0.01 / 3 / n));
    EXPECT_NEAR(squares / n, 0.01 / 3, 5 * 0.01 * std::sqrt((1.0 / 5 - 1.0 / 9) / n));
  }
}

TEST_F(Parameters, SeedDecidesTheStart) {
  const auto first = download(ops_, make(1).values());
  EXPECT_EQ(download(ops_, make(1).values()), first);
  EXPECT_NE(download(ops_, make(2).values()), first);
}

TEST_F(Parameters, ComeBackFromDiskBitForBit) {
  const LoraParameters parameters = make(3);
  std::vector<float> values(static_cast<size_t>(parameters.count()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i)) * 0x1p-70f;
  ops_.upload(parameters.values(), std::as_bytes(std::span(values)));
  const TempDir folder;
  AtomicDir writer(folder / "adapter");
  write_adapter(writer, parameters.to_adapter(ops_));
  writer.commit();
  const Adapter read = read_adapter(folder / "adapter");
  LoraParameters again(read.config, modules_, 9, false, arena_);
  again.load(ops_, read, "adapter");
  EXPECT_EQ(download(ops_, again.values()), values);
}

TEST_F(Parameters, OtherAdaptersAreRefused) {
  LoraParameters parameters = make(1);
  const Adapter good = parameters.to_adapter(ops_);
  using Change = void (*)(Adapter&);
  const std::vector<std::pair<std::string, Change>> cases = {
      {"no lora_B for model.layers.1.mlp.down_proj", [](Adapter& a) { a.tensors.pop_back(); }},
      {"is 5 x 100, expected 6 x 100",
       [](Adapter& a) {
         a.tensors[0].shape = {5, 100};
         a.tensors[0].values.resize(500);
       }},
      {"belongs to no adapted module",
       [](Adapter& a) {
         a.tensors.push_back(a.tensors[0]);
         a.tensors.back().module = "model.layers.7.self_attn.q_proj";
       }},
  };
  for (const auto& [words, change] : cases) {
    Adapter adapter = good;
    change(adapter);
    try {
      parameters.load(ops_, adapter, "adapter");
      ADD_FAILURE() << "accepted: " << words;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::bad_input);
      EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace nibble::test
