// Double quantization by structure.
#include "quant/double_quant.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "support/quantized.h"
#include "support/random.h"

namespace nibble {
namespace {

struct Doubled {
  std::vector<uint8_t> codes;
  std::vector<float> nested;
  float offset = 0;

  explicit Doubled(std::vector<float> absmax)
      : codes(absmax.size()), nested((absmax.size() + 255) / 256) {
    double_quantize(codes, nested, offset, absmax);
  }
  float decoded(size_t i) const {
    const float difference = dynamic_map_signed()[codes[i]] * nested[i / 256];
    return difference + offset;
  }
};

TEST(DoubleQuant, OffsetIsTheMean) {
  test::Random random(21);
  std::vector<float> absmax(1000);
  double sum = 0;
  for (float& value : absmax) {
    value = static_cast<float>(random.uniform());
    sum += static_cast<double>(value);
  }
  EXPECT_EQ(Doubled(absmax).offset, static_cast<float>(sum / 1000));
}

TEST(DoubleQuant, EqualScalesDecodeToTheOffset) {
  const Doubled q(std::vector<float>(300, 0.375f));
  EXPECT_EQ(q.offset, 0.375f);
  EXPECT_EQ(q.nested, (std::vector<float>{0, 0}));
  for (size_t i = 0; i < 300; ++i) {
    EXPECT_EQ(q.codes[i], 0);  // as bitsandbytes' CUDA kernel
    EXPECT_EQ(q.decoded(i), 0.375f);
  }
}

TEST(DoubleQuant, ScalesOnTheMapAreExact) {
  // Differences from a mean of 2 that are +-map values of a block with absmax 1: all are exact.
  std::vector<float> absmax;
  for (size_t i = 0; i < 256; i += 8) {
    const float value = std::round(dynamic_map_signed()[i] * 0x1p10f) * 0x1p-10f;
    absmax.push_back(2 + value);
    absmax.push_back(2 - value);
  }
  absmax.push_back(3);
  absmax.push_back(1);
  const Doubled q(absmax);
  EXPECT_EQ(q.offset, 2.0f);
  EXPECT_EQ(q.nested[0], 1.0f);
  for (size_t i = 0; i < absmax.size(); ++i)
    EXPECT_EQ(q.codes[i], dynamic_encode(dynamic_map_signed(), absmax[i] - 2));
  EXPECT_EQ(q.decoded(absmax.size() - 2), 3.0f);  // the largest difference, exactly
}

TEST(DoubleQuant, NestedBlocksHaveTheirOwnAbsmaxAndTheLastMayBeShort) {
  std::vector<float> absmax(256 + 256 + 7, 4.0f);
  absmax[10] = 5;
  absmax[11] = 3;
  absmax[300] = 6;
  absmax[301] = 2;
  absmax[512] = 4.5f;
  absmax[513] = 3.5f;
  const Doubled q(absmax);
  EXPECT_EQ(q.offset, 4.0f);
  EXPECT_EQ(q.nested, (std::vector<float>{1, 2, 0.5f}));
  EXPECT_EQ(q.codes[10], 255);
  EXPECT_EQ(q.codes[300], 255);
  EXPECT_EQ(q.codes[512], 255);
  EXPECT_EQ(q.codes[0], 127);  // an exact zero among others
}

TEST(DoubleQuant, RelativeErrorOfScalesIsThatOfAnEightBitMap) {
  // Within a decade the map has 64 values, 0.9/64 apart: half of that, of the largest difference.
  test::Random random(22);
  SCOPED_TRACE(test::test_seed());
  std::vector<float> absmax;
  for (int i = 0; i < 5000; ++i) absmax.push_back(static_cast<float>(2 + 0.3 * random.normal()));
  const Doubled q(absmax);
  // The widest gap is at the negative end, from -1 (which is not in the map) to -0.993, and 0.9/64.
  const double widest = std::max(0.9 / 64, 2 * (1 - 0.992968738)) / 2;
  for (size_t i = 0; i < absmax.size(); ++i)
    EXPECT_NEAR(q.decoded(i), absmax[i], widest * 1.00001 * double{q.nested[i / 256]} + 1e-6);
}

TEST(DoubleQuant, ErrorOfWeightsStaysInTheLimitsOfBitsandbytes) {
  // With compressed statistics: mean absolute error below 0.11, mean relative error below 0.28.
  test::Random random(23);
  const std::vector<float> x = random.normals(1024 * 1024);
  const test::HostQuantized q(x, 1024, 1024, QuantSpec{}, DType::f32);
  const std::vector<float> y = q.decoded();
  double absolute = 0;
  double relative = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double error = std::fabs(double{x[i]} - double{y[i]});
    absolute += error;
    relative += error / (std::fabs(double{x[i]}) + 1e-8);
  }
  EXPECT_LT(absolute / static_cast<double>(x.size()), 0.11);
  EXPECT_LT(relative / static_cast<double>(x.size()), 0.28);
  // Storage: 4 + 8/64 + 32/(64*256) bits per parameter.
  const size_t bytes = q.codes.size() + q.scale_codes.size() + 4 * q.nested_absmax.size();
  EXPECT_DOUBLE_EQ(8.0 * static_cast<double>(bytes) / (1024 * 1024), 4.126953125);
}

}  // namespace
}  // namespace nibble
