// Dynamic loss scaling as torch.amp.GradScaler does it: init_scale 65536, growth_factor 2,
// backoff_factor 0.5, growth_interval 2000.
#include "train/loss_scale.h"

#include <gtest/gtest.h>

namespace nibble::test {
namespace {

TEST(LossScale, GrowsAfterGoodStepsAndHalvesAtAnOverflow) {
  LossScale scale = LossScale::for_float16();
  EXPECT_EQ(scale.scale, 65536.0f);
  for (int i = 0; i < 1999; ++i) EXPECT_TRUE(scale.update(true));
  EXPECT_EQ(scale.scale, 65536.0f);
  EXPECT_TRUE(scale.update(true));
  EXPECT_EQ(scale.scale, 131072.0f);
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(scale.update(true));
  EXPECT_FALSE(scale.update(false));  // counting begins again
  EXPECT_EQ(scale.scale, 65536.0f);
  for (int i = 0; i < 1999; ++i) EXPECT_TRUE(scale.update(true));
  EXPECT_EQ(scale.scale, 65536.0f);
  EXPECT_TRUE(scale.update(true));
  EXPECT_EQ(scale.scale, 131072.0f);
  EXPECT_EQ(scale.skipped_steps, 1);
}

TEST(LossScale, EndsWhenOnlyOverflowsAreLeft) {
  LossScale scale = LossScale::for_float16();
  for (int i = 0; i < 16; ++i) {
    EXPECT_FALSE(scale.update(false));
    EXPECT_FALSE(scale.exhausted());
  }
  EXPECT_FALSE(scale.update(false));
  EXPECT_TRUE(scale.exhausted());
}

TEST(LossScale, OtherDtypesAreNotScaled) {
  LossScale scale;
  EXPECT_TRUE(scale.update(true));
  EXPECT_FALSE(scale.update(false));
  EXPECT_EQ(scale.scale, 1.0f);
  EXPECT_EQ(scale.skipped_steps, 0);
  EXPECT_FALSE(scale.exhausted());
}

}  // namespace
}  // namespace nibble::test
