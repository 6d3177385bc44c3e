#include "core/tensor.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/checked.h"

namespace nibble {
namespace {

TEST(Tensor, ViewsOfColumnsAndRowsShareTheMemory) {
  std::vector<float> values(12);
  for (size_t i = 0; i < 12; ++i) values[i] = static_cast<float>(i);
  const Tensor x = dense_tensor(values.data(), 3, 4, DType::f32);
  const Tensor columns = x.columns(1, 2);
  EXPECT_EQ(columns.as<float>(), &values[1]);
  EXPECT_EQ(columns.rows, 3);
  EXPECT_EQ(columns.cols, 2);
  EXPECT_EQ(columns.stride, 4);
  EXPECT_FALSE(columns.dense());
  EXPECT_EQ(columns.size(), 6);
  const Tensor rows = columns.row_range(2, 1);
  EXPECT_EQ(rows.as<float>(), &values[9]);
  EXPECT_TRUE(rows.dense());  // one row has no gaps
  const Tensor flat = x.reshaped(1, 12);
  EXPECT_EQ(flat.as<float>(), values.data());
  EXPECT_EQ(flat.stride, 12);
  EXPECT_EQ(x.bytes(), 48);
}

TEST(Tensor, AWrongElementTypeThrows) {
  float value = 0;
  const Tensor x = dense_tensor(&value, 1, 1, DType::f32);
  EXPECT_NO_THROW(x.as<float>());
  try {
    x.as<bf16>();
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::internal);
  }
}

TEST(Tensor, EmptyIsFalse) {
  EXPECT_FALSE(Tensor{});
  float value = 0;
  EXPECT_TRUE(dense_tensor(&value, 1, 1, DType::f32));
}

TEST(Checked, RemembersOverflow) {
  const uint64_t big = uint64_t{1} << 63;
  EXPECT_TRUE((Checked(big) + (big - 1)).ok());
  EXPECT_FALSE((Checked(big) + big).ok());
  EXPECT_FALSE((Checked(big) * 2).ok());
  EXPECT_FALSE((Checked(1) - 2).ok());
  EXPECT_FALSE((Checked(big) * 2 - big + 1).ok());  // what comes after does not mend it
  EXPECT_FALSE((Checked(1) + Checked(big) * 2).ok());
  EXPECT_EQ((Checked(6) * 7 + 1).value(), 43u);
}

TEST(Checked, AZeroDoesNotHideAnOverflow) {
  const uint64_t big = uint64_t{1} << 40;
  const std::vector<uint64_t> empty, ok = {0, big, 5}, hidden = {0, big, big};
  EXPECT_EQ(checked_product(empty).value(), 1u);
  EXPECT_TRUE(checked_product(ok).ok());
  EXPECT_EQ(checked_product(ok).value(), 0u);
  EXPECT_FALSE(checked_product(hidden).ok());
}

}  // namespace
}  // namespace nibble
