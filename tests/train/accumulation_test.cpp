// The loss is a mean over the trained tokens of the whole step, however the rows are split: with
// rows of unequal lengths a mean of means would differ visibly.
#include <gtest/gtest.h>

#include "support/golden_model.h"
#include "support/random.h"

namespace nibble::test {
namespace {

struct Rows {
  std::vector<std::vector<int32_t>> ids, labels;
};

Rows eight_rows(int64_t vocab) {
  Random random(1);
  Rows rows;
  for (const size_t length : {3, 40, 7, 21, 64, 2, 15, 33}) {
    auto& ids = rows.ids.emplace_back();
    auto& labels = rows.labels.emplace_back();
    for (size_t i = 0; i < length; ++i) {
      ids.push_back(static_cast<int32_t>(random.integer(0, vocab - 1)));
      labels.push_back(i % 3 == 0 && i > 0 ? -100 : ids.back());
    }
  }
  return rows;
}

TEST(Accumulation, SplitDoesNotChangeTheGradient) {
  const GoldenModel golden("llama3");
  TrainOptions options = golden.options();
  std::vector<float> reference;
  double reference_loss = 0;
  for (const size_t batch_size : {8, 4, 2, 1}) {
    SCOPED_TRACE(batch_size);
    TrainingRig rig(options, 1);
    LoraParameters& parameters = rig.step.parameters();
    parameters.load(rig.ops, golden.start(), "golden");
    const Rows rows = eight_rows(rig.source.spec.vocab_size);
    std::vector<MicroBatch> batches(8 / batch_size);
    for (size_t i = 0; i < 8; ++i) batches[i / batch_size].push_back({rows.ids[i], rows.labels[i]});
    const StepResult result = rig.step.train(batches, 1, options.learning_rate);
    EXPECT_EQ(result.tokens, 185);
    const std::vector<float> gradients = download(rig.ops, parameters.gradients());
    if (batch_size == 8) {
      reference = gradients;
      reference_loss = result.loss;
      continue;
    }
    // Sums of the same 185 products in another order: at most a few of float32's 2^-24.
    EXPECT_LT(relative_error(gradients, reference), 1e-6);
    EXPECT_NEAR(result.loss, reference_loss, 1e-6 * reference_loss);
  }
}

}  // namespace
}  // namespace nibble::test
