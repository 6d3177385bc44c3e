#include "core/checked.h"

#include <gtest/gtest.h>

#include <vector>

namespace nibble::test {
namespace {

constexpr uint64_t most = ~uint64_t{0};

TEST(Checked, RemembersOverflowOfEachOperation) {
  EXPECT_TRUE((Checked(most) + 0).ok());
  EXPECT_FALSE((Checked(most) + 1).ok());
  EXPECT_TRUE((Checked(1) - 1).ok());
  EXPECT_FALSE((Checked(0) - 1).ok());
  EXPECT_TRUE((Checked(uint64_t{1} << 32) * ((uint64_t{1} << 32) - 1)).ok());
  EXPECT_FALSE((Checked(uint64_t{1} << 32) * (uint64_t{1} << 32)).ok());
}

TEST(Checked, OverflowSticks) {
  EXPECT_FALSE(((Checked(most) + 1) * 0).ok());
  EXPECT_FALSE((Checked(0) * (Checked(most) + 1)).ok());
  EXPECT_EQ((Checked(3) * 4 + 5 - 6).value(), 11u);
}

TEST(Checked, ProductsSeeDimensionsBesideAZero) {
  EXPECT_EQ(checked_product(std::vector<uint64_t>{}).value(), 1u);
  EXPECT_EQ(checked_product(std::vector<uint64_t>{3, 0, 5}).value(), 0u);
  EXPECT_TRUE(checked_product(std::vector<uint64_t>{3, 0, 5}).ok());
  EXPECT_FALSE(checked_product(std::vector<uint64_t>{0, most, most}).ok());
  EXPECT_FALSE(checked_product(std::vector<uint64_t>{most, most, 0}).ok());
}

}  // namespace
}  // namespace nibble::test
