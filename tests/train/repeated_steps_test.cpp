// Steps whose batches have the shapes of earlier ones, which a GPU may play back: the same bits as
// when each operation is queued by itself, which a probe asks for.
#include <gtest/gtest.h>

#include "support/golden_model.h"

namespace nibble::test {
namespace {

struct Silent final : Probe {
  void begin(const char*) override {}
  void end() override {}
};

TEST(RepeatedSteps, AreThoseOfSingleOperations) {
  const GoldenModel golden("qwen3");
  for (const double dropout : {0.0, 0.2}) {
    SCOPED_TRACE(dropout);
    TrainOptions options = golden.options();
    options.lora.lora_dropout = dropout;
    options.learning_rate = 1e-2;
    std::vector<float> adapters[2];
    std::vector<double> losses[2];
    for (const bool single : {false, true}) {
      MemoryPolicy policy =
          recompute_every(2, ModelSource::open(options.model_name_or_path).spec.layers);
      policy.recorded = true;
      TrainingRig rig(ModelSource::open(options.model_name_or_path), options, policy);
      Silent silent;
      if (single) rig.ops.set_probe(&silent);
      rig.step.parameters().load(rig.ops, golden.start(), "golden");
      const MicroBatch all = golden.batch(), one = golden.document(0);
      const std::vector<std::vector<MicroBatch>> steps = {
          {all, one}, {one}, {all, all}, {one, all}};
      for (int64_t step = 1; step <= 8; ++step) {
        const auto& batches = steps[static_cast<size_t>(step) % steps.size()];
        losses[single].push_back(rig.step.train(batches, step, options.learning_rate).loss);
      }
      adapters[single] = download(rig.ops, rig.step.parameters().values());
    }
    EXPECT_EQ(losses[0], losses[1]);
    EXPECT_TRUE(adapters[0] == adapters[1]) << "the adapters differ";
  }
}

}  // namespace
}  // namespace nibble::test
