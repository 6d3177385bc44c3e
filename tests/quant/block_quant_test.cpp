// The 4-bit format by structure: inputs whose result can be written down without the quantizer.
#include "quant/block_quant.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "support/quantized.h"
#include "support/random.h"

namespace nibble {
namespace {

using test::HostQuantized;

QuantSpec plain(QuantType type, int block_size = 64) { return {type, false, block_size}; }

TEST(BlockQuant, FirstElementIsInTheHighNibble) {
  std::vector<float> x(64, 0.0f);
  x[0] = 1;
  x[1] = -1;
  uint8_t codes[32];
  EXPECT_EQ(encode_block(codes, x, QuantType::nf4), 1.0f);
  EXPECT_EQ(codes[0], 0xF0);
  for (int i = 1; i < 32; ++i) EXPECT_EQ(codes[i], 0x77);
  EXPECT_EQ(unpack(codes, 0), 15);
  EXPECT_EQ(unpack(codes, 1), 0);
}

TEST(BlockQuant, PlateausAreExact) {
  // Sixteen values that are code * scale in every block come back bit for bit.
  for (const QuantType type : {QuantType::nf4, QuantType::fp4}) {
    std::vector<float> x;
    for (int block = 0; block < 20; ++block) {
      const float scale = std::ldexp(1.0f, block - 10);
      for (int i = 0; i < 64; ++i)
        x.push_back(scale * code_map_of(type)[static_cast<size_t>(i / 4)]);
    }
    const HostQuantized q(x, 20, 64, plain(type), DType::f32);
    EXPECT_EQ(q.decoded(), x);
    for (int block = 0; block < 20; ++block)
      EXPECT_EQ(q.absmax[static_cast<size_t>(block)], std::ldexp(1.0f, block - 10));
  }
}

TEST(BlockQuant, RampTakesEveryCodeForItsShareOfTheRange) {
  // 4096 equidistant values in [-1, 1]: code k has those between its thresholds.
  const int n = 4096;
  std::vector<float> x(n);
  for (int i = 0; i < n; ++i)
    x[static_cast<size_t>(i)] = static_cast<float>(2 * i - (n - 1)) / static_cast<float>(n - 1);
  const HostQuantized q(x, 1, n, plain(QuantType::nf4, n), DType::f32);
  int counts[16] = {};
  for (int i = 0; i < n; ++i) ++counts[unpack(q.codes.data(), i)];
  double below = -1;
  for (size_t k = 0; k < 16; ++k) {
    const double above = k < 15 ? double{nf4_thresholds[k]} : 1.0;
    EXPECT_NEAR(counts[k], (above - below) / 2 * (n - 1), 1.5) << k;
    below = above;
  }
}

TEST(BlockQuant, GaussianErrorIsThatOfBitsandbytes) {
  // Mean absolute error of 1024 x 1024 standard normals, from bitsandbytes' own tests, which allow
  // seven standard deviations (7.4e-5 at block 64).
  const struct {
    int block_size;
    double error;
  } cases[] = {{32, 0.067746}, {64, 0.072798}, {128, 0.076831}};
  test::Random random(12);
  SCOPED_TRACE(test::test_seed());
  const std::vector<float> x = random.normals(1024 * 1024);
  for (const auto& c : cases) {
    const HostQuantized q(x, 1024, 1024, plain(QuantType::nf4, c.block_size), DType::f32);
    const std::vector<float> y = q.decoded();
    double error = 0;
    for (size_t i = 0; i < x.size(); ++i) error += std::fabs(double{x[i]} - double{y[i]});
    EXPECT_NEAR(error / static_cast<double>(x.size()), c.error, 7 * 7.4e-5) << c.block_size;
  }
}

TEST(BlockQuant, ErrorIsAtMostHalfTheWidestGap) {
  test::Random random(13);
  for (const QuantType type : {QuantType::nf4, QuantType::fp4}) {
    const double gap = type == QuantType::nf4 ? 1 - 0.6961928 : 1.0 / 3;
    const std::vector<float> x = random.normals(64 * 100);
    const HostQuantized q(x, 100, 64, plain(type), DType::f32);
    const std::vector<float> y = q.decoded();
    for (size_t i = 0; i < x.size(); ++i)
      EXPECT_LE(std::fabs(x[i] - y[i]), gap / 2 * 1.000001 * double{q.absmax[i / 64]});
  }
}

TEST(BlockQuant, ExtremesOfABlockAreExact) {
  test::Random random(14);
  const std::vector<float> x = random.normals(64 * 50);
  const HostQuantized q(x, 50, 64, plain(QuantType::nf4), DType::f32);
  const std::vector<float> y = q.decoded();
  for (size_t block = 0; block < 50; ++block) {
    size_t largest = block * 64;
    for (size_t i = block * 64; i < (block + 1) * 64; ++i)
      if (std::fabs(x[i]) > std::fabs(x[largest])) largest = i;
    EXPECT_EQ(y[largest], x[largest]);
  }
}

TEST(BlockQuant, BlocksDoNotSeeEachOther) {
  // Quantizing whole blocks on their own gives the bytes of the whole.
  test::Random random(15);
  const std::vector<float> x = random.normals(64 * 9 + 31);
  const HostQuantized whole(x, 1, static_cast<int64_t>(x.size()), plain(QuantType::nf4),
                            DType::f32);
  for (size_t begin = 0; begin < x.size(); begin += 192) {
    const size_t count = std::min<size_t>(192, x.size() - begin);
    const HostQuantized part(std::span<const float>(x).subspan(begin, count), 1,
                             static_cast<int64_t>(count), plain(QuantType::nf4), DType::f32);
    for (size_t i = 0; i < part.codes.size(); ++i)
      EXPECT_EQ(part.codes[i], whole.codes[begin / 2 + i]);
    for (size_t i = 0; i < part.absmax.size(); ++i)
      EXPECT_EQ(part.absmax[i], whole.absmax[begin / 64 + i]);
  }
}

TEST(BlockQuant, BlocksCrossRows) {
  // 3 rows of 40: blocks are of the flattened matrix, so the second begins within the second row.
  std::vector<float> x(120, 0.25f);
  x[63] = 8;
  x[64] = 2;
  const HostQuantized q(x, 3, 40, plain(QuantType::nf4), DType::f32);
  ASSERT_EQ(q.absmax.size(), 2u);
  EXPECT_EQ(q.absmax[0], 8.0f);
  EXPECT_EQ(q.absmax[1], 2.0f);
}

TEST(BlockQuant, AllZeroBlockDecodesToZero) {
  for (const QuantType type : {QuantType::nf4, QuantType::fp4}) {
    std::vector<float> x(128, 0.0f);
    x[100] = 3;
    const HostQuantized q(x, 2, 64, plain(type), DType::f32);
    EXPECT_EQ(q.absmax[0], 0.0f);
    for (size_t i = 0; i < 32; ++i) EXPECT_EQ(q.codes[i], 0);  // as bitsandbytes' CUDA kernel
    const std::vector<float> y = q.decoded();
    EXPECT_EQ(y, x);  // -0 == 0
  }
}

TEST(BlockQuant, OddTailIsPaddedWithTheCodeOfZero) {
  const std::vector<float> x = {0.5f, -1.0f, 1.0f};
  uint8_t codes[2] = {};
  encode_block(codes, x, QuantType::nf4);
  EXPECT_EQ(codes[1], 0xF7);
  encode_block(codes, x, QuantType::fp4);
  EXPECT_EQ(codes[0], 0x5B);
  EXPECT_EQ(codes[1], 0x30);
}

TEST(BlockQuant, ShortLastBlockHasItsOwnScale) {
  std::vector<float> x(67, 4.0f);
  x[64] = 0.5f;
  x[65] = -0.25f;
  x[66] = 0.125f;
  const HostQuantized q(x, 1, 67, plain(QuantType::nf4), DType::f32);
  EXPECT_EQ(q.codes.size(), 34u);
  ASSERT_EQ(q.absmax.size(), 2u);
  EXPECT_EQ(q.absmax[1], 0.5f);
  EXPECT_EQ(decode(q.view(), 64), 0.5f);
}

TEST(BlockQuant, TiesGoToTheLowerCode) {
  // A block with absmax 1 scales by exactly 1: its values are compared as they are.
  std::vector<float> x(64, 0.0f);
  x[0] = 1;
  for (size_t k = 0; k < 15; ++k) x[k + 1] = nf4_thresholds[k];
  const HostQuantized q(x, 1, 64, plain(QuantType::nf4), DType::f32);
  for (int64_t k = 0; k < 15; ++k) EXPECT_EQ(unpack(q.codes.data(), k + 1), k);
}

TEST(BlockQuant, DecodeRoundsOnceToTheSourceDtype) {
  test::Random random(16);
  std::vector<float> x = random.normals(256);
  for (float& value : x) value = to_float(to_bf16(value));
  const HostQuantized wide(x, 4, 64, plain(QuantType::nf4), DType::f32);
  const HostQuantized half(x, 4, 64, plain(QuantType::nf4), DType::bf16);
  const HostQuantized f16s(x, 4, 64, plain(QuantType::nf4), DType::f16);
  for (int64_t i = 0; i < 256; ++i) {
    const float product = decode(wide.view(), i);
    EXPECT_EQ(product,
              nf4_code[unpack(wide.codes.data(), i)] * wide.absmax[static_cast<size_t>(i / 64)]);
    EXPECT_EQ(decode(half.view(), i), to_float(to_bf16(product)));
    EXPECT_EQ(decode(f16s.view(), i), to_float(to_f16(product)));
  }
}

TEST(QuantSpec, BlockSizesAreThoseOfBitsandbytes) {
  for (const int n : {32, 64, 128, 256, 512, 1024, 2048, 4096})
    EXPECT_TRUE(QuantSpec::is_block_size(n)) << n;
  for (const int n : {-64, 0, 1, 16, 48, 96, 100, 8192})
    EXPECT_FALSE(QuantSpec::is_block_size(n)) << n;
}

}  // namespace
}  // namespace nibble
