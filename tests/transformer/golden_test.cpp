// Every family against transformers + PEFT in float32: logits, loss, every adapter gradient, ten
// optimizer steps, at every checkpoint setting.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "support/golden_model.h"

namespace nibble::test {
namespace {

// Both sides compute in float32 (unit roundoff 2^-24 = 6e-8) sums of at most a few hundred terms,
// through fewer than ten products in a row: relative errors of a tensor stay well under 1e-4, the
// bound that the project promises.
constexpr double tensor_bound = 1e-4;

class Golden : public testing::TestWithParam<std::string> {};

std::vector<float> logits_of(TrainingRig& rig, const GoldenModel& golden, int64_t document,
                             const LoraParameters* lora) {
  const Model model(rig.source.spec, rig.step.weights(), lora, rig.step.model().compute(), rig.ops);
  const Arena::Scope scope(rig.arena);
  const Batch batch(golden.document(document), rig.source.spec,
                    rig.step.weights().inverse_frequencies, rig.ops);
  const Tensor logits = rig.arena.tensor(batch.tokens(), rig.source.spec.vocab_size, DType::f32,
                                         MemoryUse::working_set, "logits");
  model.forward_logits(batch, logits);
  return download(rig.ops, logits);
}

TEST_P(Golden, Logits) {
  const GoldenModel golden(GetParam());
  TrainingRig rig(golden.options());
  rig.step.parameters().load(rig.ops, golden.start(), "golden");
  for (int64_t d = 0; d < golden.documents(); ++d) {
    const std::string name = "doc" + std::to_string(d);
    if (d == 0 && !golden.expected().contains("rounded")) {
      EXPECT_LT(
          relative_error(logits_of(rig, golden, d, nullptr), golden.floats(name + ".base_logits")),
          tensor_bound);
    }
    EXPECT_LT(relative_error(logits_of(rig, golden, d, &rig.step.parameters()),
                             golden.result(name + ".logits")),
              tensor_bound);
  }
}

TEST_P(Golden, GradientsAndTenSteps) {
  const GoldenModel golden(GetParam());
  std::map<int64_t, std::vector<double>> losses_at;
  std::map<int64_t, std::vector<float>> values_at;
  for (const int64_t checkpointing : {0, 1, 2}) {
    SCOPED_TRACE("gradient_checkpointing " + std::to_string(checkpointing));
    TrainOptions options = golden.options();
    options.gradient_checkpointing = checkpointing;
    TrainingRig rig(options);
    LoraParameters& parameters = rig.step.parameters();
    parameters.load(rig.ops, golden.start(), "golden");
    const std::vector<MicroBatch> batches = {golden.batch()};
    const auto& losses = golden.results("losses");
    const auto& norms = golden.results("grad_norms");

    for (int64_t step = 1; step <= static_cast<int64_t>(losses.size()); ++step) {
      const StepResult result = rig.step.train(batches, step, options.learning_rate);
      const auto i = static_cast<size_t>(step) - 1;
      losses_at[checkpointing].push_back(result.loss);
      const double loss = losses[i].get<double>(), norm = norms[i].get<double>();
      EXPECT_NEAR(result.loss, loss, tensor_bound * loss) << "step " << step;
      // Later norms also carry the drift of the parameters; Adam divides by sqrt(v), so an error of
      // a small gradient grows to the size of the update.
      EXPECT_NEAR(static_cast<double>(result.gradient_norm), norm,
                  (step == 1 ? tensor_bound : 1e-2) * norm)
          << "step " << step;
      if (step > 1) continue;
      for (const LoraParameters::Slot& slot : parameters.slots()) {
        const std::string key = "grad.base_model.model." + parameters.modules()[slot.module].path +
                                ".lora_" + slot.factor + ".weight";
        EXPECT_LT(relative_error(download(rig.ops, parameters.slice(parameters.gradients(), slot)),
                                 golden.result(key)),
                  tensor_bound)
            << key;
      }
    }
    for (const LoraParameters::Slot& slot : parameters.slots()) {
      if (!golden.has_final_values()) break;
      const std::string key = "final.base_model.model." + parameters.modules()[slot.module].path +
                              ".lora_" + slot.factor + ".weight";
      EXPECT_LT(relative_error(download(rig.ops, parameters.slice(parameters.values(), slot)),
                               golden.floats(key)),
                1e-3)
          << key;
    }
    values_at[checkpointing] = download(rig.ops, parameters.values());
  }
  // Memory policy never changes the numbers: bit for bit.
  EXPECT_EQ(losses_at[0], losses_at[1]);
  EXPECT_EQ(losses_at[0], losses_at[2]);
  EXPECT_EQ(values_at[0], values_at[1]);
  EXPECT_EQ(values_at[0], values_at[2]);
}

INSTANTIATE_TEST_SUITE_P(Cases, Golden, testing::ValuesIn(golden_cases()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace nibble::test
