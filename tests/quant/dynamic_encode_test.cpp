// The 8-bit search: nearest entry, with exact midpoints to the even index.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "quant/dynamic_map.h"
#include "support/random.h"

namespace nibble {
namespace {

class DynamicEncode : public testing::TestWithParam<bool> {
 protected:
  const DynamicMap& map = GetParam() ? dynamic_map_signed() : dynamic_map_unsigned();
};

TEST_P(DynamicEncode, EveryEntryMapsToItself) {
  for (size_t i = 0; i < 256; ++i) EXPECT_EQ(dynamic_encode(map, map[i]), i);
}

TEST_P(DynamicEncode, MidpointsGoToTheEvenIndexAndTheirNeighboursToTheNearest) {
  for (size_t i = 0; i < 255; ++i) {
    const float midpoint = (map[i] + map[i + 1]) * 0.5f;
    EXPECT_EQ(dynamic_encode(map, midpoint), i % 2 == 0 ? i : i + 1) << i;
    EXPECT_EQ(dynamic_encode(map, std::nextafter(midpoint, -2.0f)), i) << i;
    EXPECT_EQ(dynamic_encode(map, std::nextafter(midpoint, 2.0f)), i + 1) << i;
  }
}

TEST_P(DynamicEncode, IsTheNearestEntry) {
  test::Random random(11);
  SCOPED_TRACE(test::test_seed());
  for (int trial = 0; trial < 200000; ++trial) {
    // All magnitudes from 1e-9 to 1, and some uniform ones.
    double x = trial % 2 ? std::pow(10.0, -9 * random.uniform()) : random.uniform();
    if (random.uniform() < 0.5) x = -x;
    const auto value = static_cast<float>(x);
    const float got = map[dynamic_encode(map, value)];
    double best = 4;
    for (const float entry : map) best = std::min(best, std::fabs(double{value} - double{entry}));
    // The midpoint is rounded: distances may differ by one unit in the last place of it.
    ASSERT_LE(std::fabs(double{value} - double{got}), best + 0x1p-23 * std::fabs(x)) << value;
  }
}

TEST_P(DynamicEncode, OutsideOfTheRangeGoesToTheEnds) {
  EXPECT_EQ(dynamic_encode(map, 2.0f), 255);
  EXPECT_EQ(dynamic_encode(map, -2.0f), 0);
  EXPECT_EQ(dynamic_encode(map, std::nanf("")), 0);
}

INSTANTIATE_TEST_SUITE_P(Maps, DynamicEncode, testing::Bool(),
                         [](const auto& p) { return p.param ? "signed" : "unsigned"; });

}  // namespace
}  // namespace nibble
