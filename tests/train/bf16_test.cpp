// Every family in bfloat16 against transformers + PEFT in float32.
//
// The bound: bfloat16 has 8 significant bits, so rounding to nearest moves a number by at most
// u = 2^-9 of itself. Between input and loss of the two-layer goldens stand, for each layer, at
// most 10 activations stored in bfloat16 (norm, qkv, rotation, attention, output, norm, gate, up,
// their product, down) and 7 weight matrices rounded to it, then final norm and head: n = 2 * 17 +
// 3 = 37 roundings forward. Each moves a tensor by at most u of its norm, and normalization after
// every sum keeps the gain of what follows near one, so to first order the logits and the loss move
// by at most n * u, and a gradient, which passes the same path back, by 2 * n * u.
#include <gtest/gtest.h>

#include "ops/cpu/isa.h"
#include "support/golden_model.h"

namespace nibble::test {
namespace {

constexpr double u = 0x1p-9;

class BFloat16 : public testing::TestWithParam<std::string> {};

TEST_P(BFloat16, StaysNearFloat32) {
  if (!cpu::cpu_has_bf16()) GTEST_SKIP() << "this CPU has no bfloat16 instructions";
  const GoldenModel golden(GetParam());
  TrainOptions options = golden.options();
  options.bnb_4bit_compute_dtype = "bfloat16";
  TrainingRig rig(options, 1);
  LoraParameters& parameters = rig.step.parameters();
  parameters.load(rig.ops, golden.start(), "golden");
  const std::vector<MicroBatch> batches = {golden.batch()};
  const StepResult result = rig.step.train(batches, 1, options.learning_rate);

  const double n = 17 * static_cast<double>(rig.source.spec.layers) + 3;
  const double loss = golden.results("losses").at(0).get<double>();
  EXPECT_NEAR(result.loss, loss, n * u * loss);
  EXPECT_NE(result.loss, loss);  // it did compute in bfloat16
  for (const LoraParameters::Slot& slot : parameters.slots()) {
    const std::string key = "grad.base_model.model." + parameters.modules()[slot.module].path +
                            ".lora_" + slot.factor + ".weight";
    const double error = relative_error(
        download(rig.ops, parameters.slice(parameters.gradients(), slot)), golden.result(key));
    EXPECT_LT(error, 2 * n * u) << key;
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, BFloat16, testing::ValuesIn(golden_cases()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace nibble::test
