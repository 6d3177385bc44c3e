// A plan with everything on the device blamed the link to the host for its speed where products
// wait for weights that are dequantized beside them: few tokens, on a card with fast products.
#include <gtest/gtest.h>

#include "train/trainer.h"

namespace nibble::test {
namespace {

TEST(PlanLimit, IsNotTheLinkWhereNothingUsesIt) {
  TrainOptions options;
  options.model_name_or_path = "phi4mini";
  options.device_profile = "4090";
  options.max_length = 512;
  options.per_device_train_batch_size = 1;
  const MemoryPlan plan = plan_report(options, "phi4mini").plan;
  ASSERT_EQ(plan.far_bytes(), 0u);
  EXPECT_EQ(plan.step.stalled, 0.0);
  EXPECT_STRNE(limit_of(plan), "the link to the host");
}

}  // namespace
}  // namespace nibble::test
