// A plan with everything on the device blamed the link to the host for its speed where products
// wait for weights that are dequantized beside them: few tokens, on a card with fast products.
#include <gtest/gtest.h>

#include "ops/plan/device_profiles.h"
#include "train/dry_run.h"

namespace nibble::test {
namespace {

TEST(PlanLimit, IsNotTheLinkWhereNothingUsesIt) {
  TrainOptions options;
  options.max_length = 512;
  options.per_device_train_batch_size = 1;
  const ModelSource source = ModelSource::synthesize("phi4mini");
  std::vector<int32_t> zeros;
  const MemoryPlan plan =
      plan_training(source, options, longest_shape(options, zeros),
                    to_profile(device_profile("4090")), recompute_every(0, source.spec.layers));
  ASSERT_EQ(plan.far_bytes(), 0u);
  EXPECT_EQ(plan.step.stalled, 0.0);
  EXPECT_STRNE(limit_of(plan), "the link to the host");
}

}  // namespace
}  // namespace nibble::test
