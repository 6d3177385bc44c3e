// The code tables against constants computed outside of this program: CRC-32 and SHA-256 of the
// tables of bitsandbytes (docs/numerics.md), and single bits.
#include <gtest/gtest.h>
#include <openssl/sha.h>

#include <bit>
#include <cmath>
#include <span>
#include <string>

#include "quant/block_quant.h"
#include "quant/dynamic_map.h"

namespace nibble {
namespace {

uint32_t crc32(std::span<const float> values) {
  uint32_t crc = ~0u;
  for (const std::byte byte : std::as_bytes(values)) {
    crc ^= static_cast<uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0u);
  }
  return ~crc;
}

std::string sha256(std::span<const float> values) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(values.data()), values.size_bytes(), digest);
  std::string hex;
  for (const unsigned char byte : digest) hex += fmt::format("{:02x}", byte);
  return hex;
}

uint32_t bits(float x) { return std::bit_cast<uint32_t>(x); }

TEST(Nf4, TablesHaveTheBitsOfBitsandbytes) {
  EXPECT_EQ(crc32(nf4_code), 0xc471f81au);
  EXPECT_EQ(bits(nf4_code[1]), 0xbf3239b1u);
  EXPECT_EQ(bits(nf4_code[8]), 0x3da2faffu);
}

// That their last bits are the kernel's is shown by bitsandbytes_test.cpp, on the thresholds
// themselves and their neighbours.
TEST(Nf4, ThresholdsAreMidpointsWithinAnUlp) {
  for (size_t k = 0; k < nf4_thresholds.size(); ++k) {
    const double midpoint = (double{nf4_code[k]} + double{nf4_code[k + 1]}) / 2;
    EXPECT_NEAR(nf4_thresholds[k], midpoint, 0x1p-24 * std::fabs(midpoint)) << k;
  }
}

TEST(Nf4, EncodesItsOwnValuesAndSendsTiesToTheLowerCode) {
  for (uint8_t code = 0; code < 16; ++code) EXPECT_EQ(nf4_encode(nf4_code[code]), code);
  for (uint8_t k = 0; k < 15; ++k) {
    EXPECT_EQ(nf4_encode(nf4_thresholds[k]), k);
    EXPECT_EQ(nf4_encode(std::nextafter(nf4_thresholds[k], 2.0f)), k + 1);
    EXPECT_EQ(nf4_encode(std::nextafter(nf4_thresholds[k], -2.0f)), k);
  }
  EXPECT_EQ(nf4_encode(std::nanf("")), 0);
}

TEST(Fp4, CodeIsTwelfthsInTheOrderOfBitsandbytes) {
  const float twelfths[8] = {0, 0.0625f, 8, 12, 4, 6, 2, 3};
  for (size_t code = 0; code < 8; ++code) {
    EXPECT_EQ(bits(fp4_code[code]), bits(twelfths[code] / 12.0f)) << code;
    EXPECT_EQ(fp4_code[code + 8], -fp4_code[code]) << code;
  }
}

TEST(Fp4, ThresholdsSeparateNeighbours) {
  for (size_t k = 0; k < fp4_thresholds.size(); ++k) {
    const float below = fp4_code[fp4_ascending[k]];
    const float above = fp4_code[fp4_ascending[k + 1]];
    ASSERT_LT(below, above);
    // The kernel's literals have six or more digits, not all of a float's nine.
    EXPECT_NEAR(fp4_thresholds[k], (below + above) / 2, 5e-7) << k;
  }
}

TEST(Fp4, EncodesItsOwnValuesAndSendsTiesTowardsZero) {
  for (uint8_t code = 0; code < 16; ++code) {
    const uint8_t expected = code == 8 ? 0 : code;  // the second zero is +0 as well
    EXPECT_EQ(fp4_encode(fp4_code[code]), expected);
  }
  for (size_t k = 0; k < 7; ++k) {
    EXPECT_EQ(fp4_encode(fp4_thresholds[k]), fp4_ascending[k]);
    EXPECT_EQ(fp4_encode(-fp4_thresholds[k]), fp4_ascending[k] | 8);
    EXPECT_EQ(fp4_encode(std::nextafter(fp4_thresholds[k], 2.0f)), fp4_ascending[k + 1]);
    EXPECT_EQ(fp4_encode(std::nextafter(-fp4_thresholds[k], -2.0f)), fp4_ascending[k + 1] | 8);
  }
  EXPECT_EQ(fp4_encode(std::nanf("")), 0);
}

TEST(DynamicMap, HasTheBitsOfBitsandbytes) {
  EXPECT_EQ(crc32(dynamic_map_signed()), 0x1b137aebu);
  EXPECT_EQ(crc32(dynamic_map_unsigned()), 0xe871278fu);
  EXPECT_EQ(sha256(dynamic_map_signed()),
            "e732639a65f497b4ad684bb166a4467708255edd5207757de8b8f0c7e1fda89c");
  EXPECT_EQ(sha256(dynamic_map_unsigned()),
            "305f002cc11278fb769d13b25b9fd0c7c83c8402c40a878fe086f4039fde6398");
}

TEST(DynamicMap, HasTheListedEntries) {
  const DynamicMap& map = dynamic_map_signed();
  EXPECT_EQ(bits(map[0]), 0xbf7e3333u);
  EXPECT_EQ(bits(map[124]), 0xb70205ffu);
  EXPECT_EQ(bits(map[125]), 0xb65a1a94u);
  EXPECT_EQ(bits(map[126]), 0xb513a3b7u);
  EXPECT_EQ(bits(map[127]), 0u);
  EXPECT_EQ(bits(map[128]), 0x3513a3b7u);
  EXPECT_EQ(bits(map[131]), 0x37b24206u);
  EXPECT_EQ(map[255], 1.0f);
  EXPECT_EQ(dynamic_map_unsigned()[0], 0.0f);
  EXPECT_EQ(dynamic_map_unsigned()[255], 1.0f);
}

}  // namespace
}  // namespace nibble
